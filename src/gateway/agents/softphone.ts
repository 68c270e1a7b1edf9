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
  /** Port of this process for webhooks and audio; known when this process's ports are open. */
  readonly publicPort: () => number
  /** Origin that documents give for this process's audio socket; null if they use the webhook's origin. */
  readonly mediaOrigin: string | null
  /** The port behind `mediaOrigin`. */
  readonly mediaPort: () => number
  /**
   * Finds a number of NUMBERS_FILE that leads to an agent; null if there is no such number. A call through the number
   * has the number's business.
   */
  readonly numberOf: (agent: string) => string | null
  readonly drafts: Drafts
}

/** Called number if the console calls an agent without a number. No phone has this number. */
const CALLED_NUMBER = '+254700000000'

/**
 * Carrier for the softphone. A call works as in the simulator: this carrier posts a signed webhook to the public port,
 * executes the document in the answer, and opens the document's audio socket. The caller speaks in a browser. The
 * gateway handles such a call like a real carrier's call. The carrier's code is loaded at the first call.
 */
export class BrowserPhone implements Softphone {
  readonly #options: SoftphoneOptions
  /** Voices of typed sentences, of sentences that the carrier says, and of people who are rung. */
  #speech: Promise<CallerVoices> | null = null

  constructor(options: SoftphoneOptions) {
    this.#options = options
  }

  place: Softphone['place'] = (order, events) => {
    const callSid = `HD_${randomBytes(6).toString('hex')}`
    const { drafts } = this.#options
    if (order.draft !== null && !drafts.begin(order.draft, order.agent, callSid))
      throw new GatewayError('AGENT_UNKNOWN', 'this draft of the agent is not kept any more; press Try it again')
    // The caller's sound and commands are dropped until the code is loaded, like on a line that still rings.
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

  /**
   * Voice URL of a call. A call that tries a draft uses a port of this process alone, because other processes do not
   * have the draft.
   */
  #voiceUrl({ agent, draft }: Parameters<Softphone['place']>[0]): string {
    if (draft === null) return `${this.#origin}/voice/${agent}`
    const origin =
      this.#options.config.tlsCert === null ? `http://${this.#host}:${this.#options.mediaPort()}` : this.#origin
    return `${origin}/voice/${agent}?draft=1`
  }

  get #origin(): string {
    const { config, publicPort } = this.#options
    // With TLS, the URL contains the public host, because the certificate is valid only for this host.
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
   * URL at which this machine reaches an audio socket. Documents contain the public origin, often a load balancer.
   * Without TLS on the port, this URL leads directly to the port behind the balancer. URLs of other nodes are
   * unchanged.
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
      this.#speech = null // after a failure, the next sentence loads the voices again
    })
    return this.#speech
  }
}
