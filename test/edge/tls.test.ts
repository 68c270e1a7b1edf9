import { writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { connect } from 'node:tls'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { selfSigned } from '../../bench/kit/self-signed.js'
import { publicTls } from '../../src/config/tls-files.js'
import { loadConfig } from '../../src/config/load-config.js'
import type { EdgeTls } from '../../src/edge/options.js'
import { until } from '../support/until.js'
import { SUBPROTOCOL, attribute, newSid, ringing, startGateway } from './gateway.js'
import type { Gateway } from './gateway.js'

interface Files {
  readonly tls: EdgeTls
  readonly certFile: string
  readonly keyFile: string
}

/** A certificate and its key, read as the settings TLS_CERT and TLS_KEY name them, and looked at all the time. */
function filesOf(t: Test, { cert, key }: { readonly cert: string; readonly key: string }): Files {
  const folder = t.testdir({ 'cert.pem': cert, 'key.pem': key })
  const certFile = join(folder, 'cert.pem')
  const keyFile = join(folder, 'key.pem')
  const tls = publicTls(loadConfig({ TLS_CERT: certFile, TLS_KEY: keyFile }, null))
  if (tls === null) throw new Error('no TLS was set')
  return { tls: { ...tls, lookMs: 20 }, certFile, keyFile }
}

/** Rings a call as the carrier does, trusting `ca` alone. @returns the document */
function ringOver(gateway: Gateway, ca: string, sid = newSid()): Promise<string> {
  const body = new URLSearchParams(ringing(sid)).toString()
  return new Promise((resolve, reject) => {
    const sent = request(
      `https://localhost:${gateway.edge.publicPort}/voice/order-status`,
      { method: 'POST', ca, headers: { 'content-type': 'application/x-www-form-urlencoded' }, agent: false },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8').on('data', (part: string) => (text += part))
        answer.once('end', () => resolve(text))
      },
    )
    sent.once('error', reject)
    sent.end(body)
  })
}

function openOver(url: string, ca: string): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, [SUBPROTOCOL], { perMessageDeflate: false, ca })
    socket.once('open', () => resolve(socket))
    socket.once('error', reject)
  })
}

/** The certificate that a new connection gets, as PEM without line ends. */
function servedAt(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.toString().replace(/\s/g, '') ?? '')
      socket.end()
    })
    socket.once('error', reject)
  })
}

const bare = (pem: string): string => pem.replace(/\s/g, '')

t.test('the public port speaks TLS: webhook, document and audio socket, to who trusts its certificate', async (t) => {
  const mine = selfSigned()
  const gateway = await startGateway(t, { tls: filesOf(t, mine).tls })
  const { publicPort } = gateway.edge
  const sid = newSid()
  const audioUrl = attribute(await ringOver(gateway, mine.cert, sid), 'url')
  t.match(audioUrl, `wss://localhost:${publicPort}/audio?`, 'the URLs of a document follow the port')
  const socket = await openOver(audioUrl, mine.cert)
  const call = gateway.calls.get(sid)
  socket.send(Buffer.alloc(640, 1))
  await call.until(() => call.bytes === 640)
  socket.terminate()

  await t.rejects(ringOver(gateway, selfSigned('other').cert), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
  await t.rejects(fetch(`http://127.0.0.1:${publicPort}/voice`), 'plain HTTP is not answered')
  t.match(gateway.opsUrl, /^http:/)
  t.equal((await fetch(`${gateway.opsUrl}/healthz`)).status, 200, 'the ops port stays as it is')
})

t.test('a changed certificate is taken up without a restart, and a call of the old one goes on', async (t) => {
  const [before, after] = [selfSigned(), selfSigned()]
  const { tls, certFile, keyFile } = filesOf(t, before)
  const gateway = await startGateway(t, { tls })
  const { publicPort } = gateway.edge
  const socket = await openOver(attribute(await ringOver(gateway, before.cert), 'url'), before.cert)
  t.equal(await servedAt(publicPort), bare(before.cert))

  writeFileSync(certFile, after.cert)
  const complaint = /^The changed certificate of the public port is not used/
  await until(() => gateway.logged().some(({ msg }) => complaint.test(String(msg))), 5000, 'half a change')
  t.equal(await servedAt(publicPort), bare(before.cert), 'with half a change the port keeps what it has')

  writeFileSync(keyFile, after.key)
  const taken = 'the public port uses the changed certificate'
  await until(() => gateway.logged().some(({ msg }) => msg === taken), 5000, 'the whole change')
  t.equal(await servedAt(publicPort), bare(after.cert))
  t.match(attribute(await ringOver(gateway, after.cert), 'url'), 'wss://')
  const echoed = new Promise((resolve) => socket.once('pong', resolve))
  socket.ping()
  await echoed
  t.equal(socket.readyState, WebSocket.OPEN)
  socket.terminate()
})
