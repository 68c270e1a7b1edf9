import { createHmac, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocketServer } from 'ws'
import { messageOf } from '../../core/errors.js'
import { parseCallSid } from '../../core/ids.js'
import { bytesOf } from '../../core/bytes-of.js'
import { CARRIER_FRAME_BYTES_MAX, WEBHOOK_BODY_BYTES_MAX } from '../../core/limits.js'
import type { EdgeTls } from '../../edge/options.js'
import { StreamTokens } from '../../edge/public/stream-tokens.js'
import { portFault, whyNotFree } from '../../http/port-use.js'
import { EMPTY_RESPONSE, voiceXml } from '../../sautikit/actions.js'
import { SIGNATURE_HEADER, verifySignature } from '../../sautikit/signature.js'
import { offersSubprotocol } from '../../sautikit/stream-messages.js'
import { parseEvent, parseStreamStatus, parseVoicePost, parseWebhook } from '../../sautikit/webhook.js'
import { ProbeCall } from './probe-call.js'
import type { Phrases } from './probe-call.js'
import { formsOf } from './wire-facts.js'
import type { CallFacts, PostFacts, SignatureFacts } from './wire-facts.js'

/** Header with a nonce, by which this process recognises its own requests. */
export const NONCE = 'x-mkondo-doctor'
/** SID in the token of a test socket that does not belong to a call. The server echoes this socket's messages. */
const ECHO = parseCallSid('doctor-echo')
/** Maximum number of calls of one run, so that strangers who find the URL cannot place calls without limit. */
const CALLS_MAX = 20
const BODY_TIMEOUT_MS = 10_000

export interface ProbeServerOptions {
  readonly host: string
  readonly port: number
  /** TLS of the port; null without TLS. */
  readonly tls: EdgeTls | null
  readonly opsHost: string
  readonly opsPort: number
  readonly publicUrl: string
  readonly secrets: readonly string[]
  readonly track: CallFacts['track']
  /** Ends a call through the REST API; null if the API is not used. */
  readonly hangUp: ((callSid: string) => Promise<void>) | null
  readonly onStep: (what: string) => void
}

/**
 * Server that answers the carrier while no gateway runs. It uses the gateway's port and paths, so that the check also
 * tests a proxy before the gateway. It answers unsigned webhooks too, because the check must find out how webhooks are
 * signed. A secret name in the voice URL keeps strangers out.
 */
export class ProbeServer {
  /** Secret agent name, the last part of the voice URL's path. */
  readonly name = `doctor-${randomBytes(16).toString('hex')}`.slice(0, 40)
  readonly #options: ProbeServerOptions
  readonly #key = randomBytes(32)
  readonly #tokens = new StreamTokens({
    tokenSecrets: [randomBytes(32).toString('base64url')],
    wallClock: Date.now,
    clock: () => performance.now(),
  })
  readonly #server: Server
  /** Server on the ops port. It answers a load balancer's check that the gateway is ready. */
  readonly #ops: Server = createServer((request, response) => {
    response.writeHead(request.url === '/readyz' || request.url === '/healthz' ? 200 : 404).end()
  })
  readonly #sockets: WebSocketServer
  readonly #upgraded = new Set<Socket>()
  #call: ProbeCall | null = null
  #calls = 0
  /** Phrases for the callers; null until calls are accepted. */
  #phrases: Phrases | null = null
  /** SIDs of ended calls, whose last POSTs may still come; CALLS_MAX at most. */
  readonly #over = new Set<string>()
  /** Call that came while no `nextCall` was waiting; null if no call came. */
  #arrived: ProbeCall | null = null
  #callCame: ((call: ProbeCall) => void) | null = null

  /** @throws GatewayError PORT_IN_USE or CONFIG_INVALID */
  static async start(options: ProbeServerOptions): Promise<ProbeServer> {
    const { host, port, opsHost, opsPort } = options
    for (const use of [
      { setting: 'PORT', host, port },
      { setting: 'OPS_PORT', host: opsHost, port: opsPort },
    ]) {
      const why = await whyNotFree(use)
      if (why !== null) throw portFault(use, why)
    }
    const server = new ProbeServer(options)
    server.#server.listen(port, host)
    server.#ops.listen(opsPort, opsHost)
    await Promise.all([once(server.#server, 'listening'), once(server.#ops, 'listening')])
    return server
  }

  private constructor(options: ProbeServerOptions) {
    this.#options = options
    this.#sockets = new WebSocketServer({
      noServer: true,
      maxPayload: CARRIER_FRAME_BYTES_MAX,
      handleProtocols: (offered) => offersSubprotocol([...offered].join(',')) ?? false,
    })
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      void this.#request(request, response)
    }
    const { tls } = options
    this.#server =
      tls === null
        ? createServer(answer)
        : createTlsServer({ cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) }, answer)
    this.#server.requestTimeout = BODY_TIMEOUT_MS
    this.#server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
      this.#upgrade(request, socket, head)
    })
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** URL for the carrier's route of the number. */
  get voiceUrl(): string {
    return `${this.#options.publicUrl}/voice/${this.name}`
  }

  get eventsUrl(): string {
    return `${this.#options.publicUrl}/events`
  }

  /** Answer to a nonce, which only this process can calculate. */
  proofOf(nonce: string): string {
    return createHmac('sha256', this.#key).update(nonce).digest('hex')
  }

  /** URL of an audio socket that echoes, for the check from this machine. */
  echoUrl(): string {
    const token = this.#tokens.mint(ECHO, 'audio')
    return `${this.#options.publicUrl.replace(/^http/, 'ws')}/audio?t=${token}`
  }

  /** Accepts calls from now on. */
  takeCalls(phrases: Phrases): void {
    this.#phrases = phrases
  }

  /** Resolves with the next call, after its first POST. */
  nextCall(): Promise<ProbeCall> {
    return new Promise((resolve) => {
      if (this.#arrived === null) this.#callCame = resolve
      else resolve(this.#arrived)
      this.#arrived = null
    })
  }

  async close(): Promise<void> {
    this.#call?.abandon()
    for (const socket of this.#upgraded) socket.destroy()
    for (const server of [this.#server, this.#ops]) {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }

  // --- webhooks -----------------------------------------------------------------------------------------------

  async #request(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const body = await bytesOf(request, WEBHOOK_BODY_BYTES_MAX)
      const { status, text } = body === null ? NOT_HERE : this.#answer(request, body)
      response.writeHead(status, text === '' ? {} : { 'content-type': 'application/xml' }).end(text)
    } catch (thrown) {
      this.#options.onStep(`a webhook could not be read: ${messageOf(thrown)}`)
      response.writeHead(400).end()
    }
  }

  #answer(request: IncomingMessage, body: Buffer): { readonly status: number; readonly text: string } {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://here')
    if (request.method !== 'POST') return NOT_HERE
    const contentType = request.headers['content-type']
    if (pathname === `/voice/${this.name}`) {
      const nonce = request.headers[NONCE]
      if (typeof nonce === 'string') return { status: 200, text: this.proofOf(nonce) }
      const webhook = parseVoicePost(contentType, body)
      if (webhook === null || this.#over.has(webhook.callSid)) return { status: 200, text: EMPTY_RESPONSE }
      const call = this.#callOf(webhook.callSid)
      if (call === null) return { status: 200, text: voiceXml([{ verb: 'reject', reason: 'busy' }]) }
      return { status: 200, text: call.voice(this.#factsOf(request, body), webhook) }
    }
    const call = this.#call
    if (call === null) return NOT_HERE
    const token = searchParams.get('t') ?? undefined
    switch (pathname) {
      case '/after-stream': {
        if (!this.#isOf(call, token, 'after-stream')) return NOT_HERE
        const webhook = body.length === 0 ? null : parseWebhook(contentType, body)
        return { status: 200, text: call.afterStream(this.#factsOf(request, body), webhook) }
      }
      case '/stream-status': {
        if (!this.#isOf(call, token, 'stream-status')) return NOT_HERE
        call.status(this.#factsOf(request, body), parseStreamStatus(contentType, body, call.callSid).event)
        return ACCEPTED
      }
      case '/events': {
        const event = parseEvent(contentType, body)
        if (event.callSid === call.callSid) call.event(this.#factsOf(request, body), event)
        return ACCEPTED
      }
      default:
        return NOT_HERE
    }
  }

  /** The call with a SID, or a new call if no call is in progress. Null if another call is in progress. */
  #callOf(callSid: ProbeCall['callSid']): ProbeCall | null {
    if (this.#call !== null) return this.#call.callSid === callSid ? this.#call : null
    if (this.#phrases === null || this.#calls >= CALLS_MAX) return null
    this.#calls++
    const { publicUrl, track, hangUp, onStep } = this.#options
    const call = new ProbeCall({
      callSid,
      track,
      phrases: this.#phrases,
      urls: {
        audio: `${publicUrl.replace(/^http/, 'ws')}/audio?t=${this.#tokens.mint(callSid, 'audio')}`,
        status: `${publicUrl}/stream-status?t=${this.#tokens.mint(callSid, 'stream-status')}`,
        afterStream: `${publicUrl}/after-stream?t=${this.#tokens.mint(callSid, 'after-stream')}`,
      },
      hangUp: hangUp === null ? null : () => hangUp(callSid),
      onStep,
    })
    this.#call = call
    void call.done.then(() => {
      this.#call = null
      this.#over.add(callSid)
    })
    if (this.#callCame === null) this.#arrived = call
    else this.#callCame(call)
    this.#callCame = null
    return call
  }

  #isOf(call: ProbeCall, token: string | undefined, purpose: 'after-stream' | 'stream-status'): boolean {
    const checked = this.#tokens.check(token, purpose)
    return checked.result === 'ok' && checked.callSid === call.callSid
  }

  #factsOf(request: IncomingMessage, body: Buffer): Pick<PostFacts, 'contentType' | 'signature' | 'fields'> {
    const contentType = request.headers['content-type']?.split(';')[0]?.trim() ?? null
    const text = body.toString('utf8')
    const isJson = text.trimStart().startsWith('{')
    return {
      contentType,
      signature: this.#signatureOf(request, body),
      fields: formsOf(
        isJson ? (JSON.parse(text) as Record<string, unknown>) : Object.fromEntries(new URLSearchParams(text)),
      ),
    }
  }

  #signatureOf(request: IncomingMessage, body: Buffer): SignatureFacts {
    const given = request.headers[SIGNATURE_HEADER]
    const header = Array.isArray(given) ? given.join(',') : given
    if (header === undefined || header.trim() === '') return { form: 'none', secret: null }
    const form = /^[0-9a-f]{64}$/i.test(header.trim()) ? 'bare' : /(?:^|,)\s*v1=/.test(header) ? 'dated' : 'other'
    const nowS = Math.floor(Date.now() / 1000)
    const made = this.#options.secrets.findIndex(
      (secret) => verifySignature({ header, body, secrets: [secret], nowS, acceptBare: true }) === 'ok',
    )
    return { form, secret: made < 0 ? null : made + 1 }
  }

  // --- audio socket -------------------------------------------------------------------------------------------

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    socket.on('error', () => socket.destroy())
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://here')
    const token = this.#tokens.check(searchParams.get('t') ?? undefined, 'audio')
    const offered = request.headers['sec-websocket-protocol']
    const call = this.#call
    const isEcho = token.result === 'ok' && token.callSid === ECHO
    const isOfCall = token.result === 'ok' && call !== null && token.callSid === call.callSid && call.takesSocket
    if (pathname !== '/audio' || offersSubprotocol(offered) === null || !(isEcho || isOfCall)) {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
      return
    }
    this.#upgraded.add(socket)
    socket.once('close', () => this.#upgraded.delete(socket))
    this.#sockets.handleUpgrade(request, socket, head, (opened) => {
      if (isEcho) {
        opened.on('message', (data: Buffer, isBinary) => {
          opened.send(data, { binary: isBinary })
        })
        return
      }
      const headers = request.rawHeaders.filter((_, index) => index % 2 === 0).map((name) => name.toLowerCase())
      const subprotocols = (offered ?? '').split(',').map((name) => name.trim())
      call?.attach(opened, headers, subprotocols)
    })
  }
}

const NOT_HERE = { status: 404, text: '' } as const
const ACCEPTED = { status: 204, text: '' } as const
