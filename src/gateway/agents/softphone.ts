import { randomBytes } from 'node:crypto'
import type { Config } from '../../config/settings.js'
import type { Softphone } from '../../edge/ops/ops-phone.js'
import type { Log } from '../../telemetry/log.js'
import type { BrowserCaller } from '../../carrier/browser-caller.js'
import type { CallerVoices } from '../../carrier/caller-voices.js'
import { GatewayError } from '../../core/errors.js'
import type { Drafts } from './agent-editor.js'

interface SoftphoneOptions {
  readonly config: Config
  readonly log: Log
  /** Where this process takes webhooks and audio; known once its ports are open. */
  readonly publicPort: () => number
  /** Origin at which the documents of this process have its audio socket; null: that of the webhook. */
  readonly mediaOrigin: string | null
  /** The port for which that origin stands. */
  readonly mediaPort: () => number
  /** A number of NUMBERS_FILE that leads to an agent: the call is about its business. Null: there is none. */
  readonly numberOf: (agent: string) => string | null
  readonly drafts: Drafts
}

/** The called number of the console's calls to an agent without a number; it is nobody's. */
const CALLED_NUMBER = '+254700000000'

/**
 * The softphone's side of the carrier. Each call is carried as the simulator's are: it posts a signed webhook to the
 * public port, runs the document that comes back, and opens its audio socket, so the gateway cannot tell it from the
 * carrier's. Only the caller is at a browser. What carries it is loaded with the first call.
 */
export class BrowserPhone implements Softphone {
  readonly #options: SoftphoneOptions
  /** Voices of typed sentences, of the carrier's words and of the people who are rung. */
  #speech: Promise<CallerVoices> | null = null

  constructor(options: SoftphoneOptions) {
    this.#options = options
  }

  place: Softphone['place'] = (order, events) => {
    const callSid = `HD_${randomBytes(6).toString('hex')}`
    const { drafts } = this.#options
    if (order.draft !== null && !drafts.begin(order.draft, order.agent, callSid))
      throw new GatewayError('AGENT_UNKNOWN', 'this draft of the agent is not kept any more; press Try it again')
    // Sound and commands may come before what carries the call is loaded: those are lost, as on a line that still rings.
    let caller: BrowserCaller | null = null
    let hungUp = false
    const run = async (): Promise<void> => {
      const [{ BrowserCaller }, { startCall }] = await Promise.all([
        import('../../carrier/browser-caller.js'),
        import('../../carrier/carrier-call.js'),
      ])
      if (hungUp) return
      caller = new BrowserCaller({ speak: async (...words) => (await this.#voices()).speak(...words) }, events.heard)
      const live = startCall({
        callSid,
        voiceUrl: this.#voiceUrl(order),
        eventsUrl: `${this.#origin}/events`,
        from: order.from,
        to: this.#options.numberOf(order.agent) ?? CALLED_NUMBER,
        caller,
        secret: this.#options.config.webhookSecrets[0] ?? null,
        mediaRoute: (url) => this.#mediaRoute(url),
        onEvent: ({ callSid: _, ...event }) => events.news(event),
      })
      const { complaints } = await live.done
      events.news({ type: 'over', complaints })
    }
    run()
      .catch((thrown: unknown) => {
        this.#options.log.error({ err: thrown }, 'a call from the console failed')
        events.news({ type: 'over', complaints: ['the gateway could not run this call; its log says why'] })
      })
      .finally(() => {
        drafts.end(callSid)
        events.over()
      })
    return {
      callSid,
      audio: (bytes) => caller?.audio(bytes),
      press: (keys) => caller?.press(keys),
      say: (text) => {
        caller?.say(text).catch((thrown: unknown) => {
          this.#options.log.error({ err: thrown }, 'a typed sentence could not be spoken')
          events.news({ type: 'refused', message: 'the text could not be spoken; the log of the gateway says why' })
        })
      },
      hangUp: () => {
        hungUp = true
        caller?.hangUp()
      },
    }
  }

  async close(): Promise<void> {
    await (await this.#speech?.catch(() => null))?.close()
  }

  /** A call that tries a draft goes to this very process, which alone keeps it: past a port that several share. */
  #voiceUrl({ agent, draft }: Parameters<Softphone['place']>[0]): string {
    if (draft === null) return `${this.#origin}/voice/${agent}`
    const origin =
      this.#options.config.tlsCert === null ? `http://${this.#host}:${this.#options.mediaPort()}` : this.#origin
    return `${origin}/voice/${agent}?draft=1`
  }

  get #origin(): string {
    const { config, publicPort } = this.#options
    // The certificate is for the public name.
    if (config.tlsCert !== null) return config.publicUrl ?? `https://localhost:${publicPort()}`
    return `http://${this.#host}:${publicPort()}`
  }

  get #host(): string {
    const { host } = this.#options.config
    if (host === '0.0.0.0') return '127.0.0.1'
    if (host === '::') return '[::1]'
    return host.includes(':') ? `[${host}]` : host
  }

  /**
   * Documents name the origin that the carrier reaches, often a balancer with TLS in front of this very process. From
   * here it is shorter, and works without a network, to go to the port behind it, where that speaks no TLS itself;
   * another node's origin is left alone.
   */
  #mediaRoute(url: string): string {
    const { config, mediaOrigin, mediaPort } = this.#options
    if (config.tlsCert !== null) return url
    const { protocol, host, pathname, search } = new URL(url)
    if (mediaOrigin === null || `${protocol}//${host}` !== mediaOrigin.replace(/^http/, 'ws').replace(/\/$/, ''))
      return url
    return `ws://${this.#host}:${mediaPort()}${pathname}${search}`
  }

  #voices(): Promise<CallerVoices> {
    this.#speech ??= import('../../carrier/caller-voices.js').then(({ CallerVoices }) => CallerVoices.load())
    this.#speech.catch(() => {
      this.#speech = null // the next sentence tries again
    })
    return this.#speech
  }
}
