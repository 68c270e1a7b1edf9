import { createHash, randomBytes } from 'node:crypto'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { GatewayError, messageOf } from '../core/errors.js'

/** RFC 6455 section 4.2.2. */
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
/** A response head longer than this is refused. */
const RESPONSE_HEAD_BYTES_MAX = 16 * 1024

export const SUBPROTOCOL = 'audio.drachtio.org'

export interface HandshakeOptions {
  /** `ws://` or `wss://`; path and query go out as given. */
  readonly url: string
  readonly subprotocol?: string
  readonly basicAuth?: { readonly user: string; readonly password: string }
  readonly timeoutMs: number
  /** False accepts any certificate: for a gateway under test with its own. */
  readonly verifyTls?: boolean
}

export interface OpenedSocket {
  readonly socket: Socket
  /** Bytes that came behind the response head. */
  readonly head: Buffer
  /** Response headers by lower-case name. */
  readonly headers: ReadonlyMap<string, string>
  readonly requestText: string
}

/** The upgrade was answered with something else, or not at all. `status` is null when there was no HTTP answer. */
export class HandshakeRefused extends Error {
  readonly status: number | null

  constructor(status: number | null, message: string) {
    super(message)
    this.name = 'HandshakeRefused'
    this.status = status
  }
}

/**
 * The upgrade request as libwebsockets 4.1 writes it for the fork module: these headers, this order, no others, no
 * extensions, and no port in Host.
 */
export function handshakeRequest(url: URL, key: string, options: HandshakeOptions): string {
  const auth = options.basicAuth
  const lines = [
    `GET ${url.pathname}${url.search} HTTP/1.1`,
    'Pragma: no-cache',
    'Cache-Control: no-cache',
    `Host: ${url.hostname}`,
    `Origin: http${url.protocol === 'wss:' ? 's' : ''}://${url.hostname}`,
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Key: ${key}`,
    `Sec-WebSocket-Protocol: ${options.subprotocol ?? SUBPROTOCOL}`,
    'Sec-WebSocket-Version: 13',
  ]
  if (auth) lines.push(`authorization: Basic ${Buffer.from(`${auth.user}:${auth.password}`).toString('base64')}`)
  return `${lines.join('\r\n')}\r\n\r\n`
}

/**
 * Opens the media socket. One try: the lineage never repeats a handshake.
 * @throws HandshakeRefused when the answer is no upgrade, names another subprotocol or has the wrong accept key.
 */
export async function openMediaSocket(options: HandshakeOptions): Promise<OpenedSocket> {
  const url = parseMediaUrl(options.url)
  const key = randomBytes(16).toString('base64')
  const requestText = handshakeRequest(url, key, options)
  const socket = await connectSocket(url, options)
  try {
    socket.write(requestText)
    const { headText, rest } = await readHead(socket, options.timeoutMs)
    const headers = checkResponse(headText, key, options.subprotocol ?? SUBPROTOCOL)
    return { socket, head: rest, headers, requestText }
  } catch (thrown) {
    socket.destroy()
    throw thrown
  }
}

function parseMediaUrl(text: string): URL {
  let url: URL
  try {
    url = new URL(text)
  } catch (cause) {
    throw new GatewayError('XML_INVALID', 'the url of the Stream verb cannot be parsed', { cause })
  }
  if (url.protocol !== 'ws:' && url.protocol !== 'wss:') {
    throw new GatewayError('XML_INVALID', `the url of the Stream verb has the scheme ${url.protocol} and not ws: or wss:`)
  }
  return url
}

function connectSocket(url: URL, options: HandshakeOptions): Promise<Socket> {
  const secure = url.protocol === 'wss:'
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port)
  return new Promise((resolve, reject) => {
    const socket = secure
      ? connectTls({ host, port, servername: host, rejectUnauthorized: options.verifyTls ?? true })
      : connectTcp({ host, port })
    const fail = (why: string): void => {
      socket.destroy()
      reject(new HandshakeRefused(null, `no connection to the media socket: ${why}`))
    }
    const timer = setTimeout(() => { fail(`nothing within ${options.timeoutMs} ms`) }, options.timeoutMs)
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer)
      socket.removeAllListeners('error')
      socket.setNoDelay(true)
      resolve(socket)
    })
    socket.once('error', (error) => {
      clearTimeout(timer)
      fail(messageOf(error))
    })
  })
}

function readHead(socket: Socket, timeoutMs: number): Promise<{ headText: string; rest: Buffer }> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0)
    const done = (settle: () => void): void => {
      clearTimeout(timer)
      socket.off('data', onData).off('error', onEnd).off('close', onEnd)
      settle()
    }
    const fail = (why: string): void => { done(() => { reject(new HandshakeRefused(null, why)) }) }
    const onEnd = (): void => { fail('the gateway closed the connection during the handshake') }
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk])
      const end = received.indexOf('\r\n\r\n')
      if (end >= 0) {
        socket.pause()
        done(() => { resolve({ headText: received.toString('latin1', 0, end), rest: received.subarray(end + 4) }) })
      } else if (received.length > RESPONSE_HEAD_BYTES_MAX) {
        fail(`the response head is longer than ${RESPONSE_HEAD_BYTES_MAX} bytes`)
      }
    }
    const timer = setTimeout(() => { fail(`no answer to the upgrade within ${timeoutMs} ms`) }, timeoutMs)
    socket.on('data', onData).on('error', onEnd).on('close', onEnd)
  })
}

function checkResponse(headText: string, key: string, subprotocol: string): ReadonlyMap<string, string> {
  const [statusLine = '', ...lines] = headText.split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1] ?? Number.NaN)
  if (status !== 101) {
    throw new HandshakeRefused(Number.isNaN(status) ? null : status, `the upgrade was answered with "${statusLine}"`)
  }
  const headers = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim())
  }
  const accept = createHash('sha1').update(key + ACCEPT_GUID).digest('base64')
  if (headers.get('sec-websocket-accept') !== accept) throw new HandshakeRefused(101, 'Sec-WebSocket-Accept is wrong')
  const chosen = headers.get('sec-websocket-protocol')
  // No subprotocol at all passes: the lineage's build was seen to accept it. Another name does not.
  if (chosen !== undefined && chosen !== subprotocol) {
    throw new HandshakeRefused(101, `the subprotocol ${chosen} was never offered`)
  }
  if (headers.has('sec-websocket-extensions')) throw new HandshakeRefused(101, 'an extension that was never offered')
  return headers
}
