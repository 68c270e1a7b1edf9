import { createHash, randomBytes } from 'node:crypto'
import { Agent, request } from 'node:http'
import { Agent as TlsAgent, request as requestTls } from 'node:https'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

const SUBPROTOCOL = 'audio.drachtio.org'
const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const ANSWER_TIMEOUT_MS = 5000
const ANSWER_CHARS_MAX = 64 * 1024
const RESPONSE_HEAD_BYTES_MAX = 16 * 1024

let agent: Agent = new Agent({ keepAlive: true, maxSockets: 8 })

let tls = false

/** Makes the generator use TLS. The bench creates the server's certificate, so the certificate is not checked. */
export function overTls(): void {
  tls = true
  agent = new TlsAgent({ keepAlive: true, maxSockets: 8, rejectUnauthorized: false })
}

/** Opens a new connection for each webhook. Otherwise a few connections are reused. */
export function freshConnections(): void {
  agent = new Agent({ keepAlive: false, maxSockets: 8 })
}

/**
 * URL for the audio of a call. It is requested in the way of the carrier: with the webhook of a ringing call, from the
 * XML in the answer.
 */
export async function askForStream(port: number, callSid: string): Promise<URL> {
  const body = new URLSearchParams({
    sessionId: callSid,
    callSid,
    from: '+254700000001',
    to: '+254709000000',
    direction: 'inbound',
    callSessionState: 'Ringing',
    isActive: '1',
  }).toString()
  const xml = await post(port, '/voice/bench', body)
  const stream = /<Stream\b[^>]*\burl="([^"]+)"/.exec(xml)?.[1]
  if (stream === undefined) throw new Error(`the webhook was answered without a Stream: ${xml.slice(0, 200)}`)
  const url = new URL(stream.replaceAll('&amp;', '&'))
  if (url.hostname !== '127.0.0.1') throw new Error(`the stream leads to ${url.hostname}: a bench stays on loopback`)
  return url
}

function post(port: number, path: string, body: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = (tls ? requestTls : request)(
      {
        agent,
        host: '127.0.0.1',
        port,
        path,
        method: 'POST',
        timeout: ANSWER_TIMEOUT_MS,
        headers: { 'content-type': 'application/x-www-form-urlencoded', 'content-length': Buffer.byteLength(body) },
      },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8')
        answer.on('data', (chunk: string) => {
          text = (text + chunk).slice(0, ANSWER_CHARS_MAX)
        })
        answer.on('error', reject)
        answer.on('end', () => {
          if (answer.statusCode === 200) resolve(text)
          else reject(new Error(`the webhook was answered with ${answer.statusCode}`))
        })
      },
    )
    sent.on('timeout', () => sent.destroy(new Error(`no answer to the webhook within ${ANSWER_TIMEOUT_MS} ms`)))
    sent.on('error', reject)
    sent.end(body)
  })
}

/** Buffer for all reads of this process. The bytes of a call are processed before the next read. */
const readBuffer = Buffer.allocUnsafe(256 * 1024)

/**
 * Opens one audio socket. After the upgrade, the socket's bytes are given to `onBytes`; they are valid only during that
 * call.
 */
export function openSocket(
  port: number,
  target: string,
  handlers: {
    readonly onBytes: (bytes: Buffer) => void
    readonly onClose: () => void
  },
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const key = randomBytes(16).toString('base64')
    let head: Buffer | null = Buffer.alloc(0)
    let failure: Error | null = null
    const fail = (why: string): void => {
      failure ??= new Error(why)
      socket.destroy()
    }
    const open: typeof connect = tls ? (connectTls as typeof connect) : connect
    const socket = open({
      host: '127.0.0.1',
      port,
      noDelay: true,
      ...(tls ? { rejectUnauthorized: false } : {}),
      onread: {
        buffer: readBuffer,
        callback: (count) => {
          const bytes = readBuffer.subarray(0, count)
          if (head === null) {
            handlers.onBytes(bytes)
            return true
          }
          head = Buffer.concat([head, bytes])
          const end = head.indexOf('\r\n\r\n')
          if (end < 0) {
            if (head.length > RESPONSE_HEAD_BYTES_MAX) fail('the upgrade is answered with an endless head')
            return true
          }
          const wrong = whatIsWrong(head.toString('latin1', 0, end), key)
          if (wrong !== null) {
            fail(wrong)
            return true
          }
          const rest = head.subarray(end + 4)
          head = null
          clearTimeout(timer)
          resolve(socket)
          if (rest.length > 0) handlers.onBytes(rest)
          return true
        },
      },
    })
    const timer = setTimeout(() => fail(`no answer to the upgrade within ${ANSWER_TIMEOUT_MS} ms`), ANSWER_TIMEOUT_MS)
    socket.on('error', (error) => {
      failure ??= error
    })
    socket.on('close', () => {
      clearTimeout(timer)
      if (head === null) handlers.onClose()
      else reject(failure ?? new Error('the server closed the connection during the handshake'))
    })
    socket.write(
      [
        `GET ${target} HTTP/1.1`,
        `Host: 127.0.0.1:${port}`,
        'Upgrade: websocket',
        'Connection: Upgrade',
        `Sec-WebSocket-Key: ${key}`,
        'Sec-WebSocket-Version: 13',
        `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
        '',
        '',
      ].join('\r\n'),
    )
  })
}

function whatIsWrong(head: string, key: string): string | null {
  const status = /^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]
  if (status !== '101') return `the upgrade was answered with ${status ?? 'something that is not HTTP'}`
  const accept = createHash('sha1')
    .update(key + ACCEPT_GUID)
    .digest('base64')
  return head.includes(accept) ? null : 'Sec-WebSocket-Accept is wrong'
}

export function closeWebhooks(): void {
  agent.destroy()
}
