import { once } from 'node:events'
import t from 'tap'
import { WebSocket } from 'ws'
import { CARRIER_FRAME_BYTES_MAX } from '../../src/core/limits.js'
import { createLog } from '../../src/telemetry/log.js'
import { attribute, openSocket, post, ringing } from '../edge/gateway.js'
import { lightGateway } from '../grafana/light-gateway.js'
import { until } from '../support/host.js'

t.setTimeout(60_000)

/** How a socket is ended, and what the call's record, the log and the metrics make of it. */
const ENDS: readonly (readonly [
  sid: string,
  end: (socket: WebSocket, sending: NodeJS.Timeout) => void,
  reason: string,
  outcome: string,
  detail: RegExp,
])[] = [
  ['HD_end000000001', (socket) => socket.close(1000), 'caller-hung-up', 'abandoned', /^in live$/],
  ['HD_end000000002', (socket) => socket.close(1011), 'carrier-error', 'failed', /closed with code 1011$/],
  [
    'HD_end000000003',
    (socket) => socket.send(Buffer.alloc(CARRIER_FRAME_BYTES_MAX + 1)),
    'carrier-protocol',
    'failed',
    /more than 131072 bytes$/,
  ],
  ['HD_end000000004', (socket) => socket.terminate(), 'socket-lost', 'abandoned', /without a close frame$/],
  [
    'HD_end000000005',
    (socket) => {
      for (let i = 0; i < 12; i++) socket.send(Buffer.alloc(64_000))
    },
    'carrier-abuse',
    'failed',
    /twice real time/,
  ],
  ['HD_end000000006', (_, sending) => clearInterval(sending), 'caller-hung-up', 'abandoned', /./],
]

t.test('each way in which a socket ends has its reason in the record, the log and the metrics', async (t) => {
  const lines: string[] = []
  const gateway = await lightGateway(
    // A carrier that could still ask is waited for when its connection broke.
    { SAUTIKIT_AFTER_STREAM: 'holds' },
    createLog({ level: 'info', destination: { write: (line) => void lines.push(line) } }),
  )
  t.teardown(() => gateway.close())
  for (const [sid, end, reason, outcome, detail] of ENDS) {
    const answer = await post(`${gateway.url}/voice/light`, { form: ringing(sid) })
    const socket = await openSocket(attribute(answer.text, 'url'))
    socket.on('error', () => undefined)
    const sending = setInterval(() => socket.readyState === WebSocket.OPEN && socket.send(Buffer.alloc(640)), 20)
    const closed = once(socket, 'close')
    await once(socket, 'message') // the greeting
    end(socket, sending)
    await closed
    clearInterval(sending)
    await until(() => gateway.calls.record(sid) !== undefined, 10_000, `the record of ${reason}`)
    t.match(gateway.calls.record(sid), { endReason: reason, outcome, endDetail: detail }, reason)
    t.match(
      lines
        .map((line) => JSON.parse(line) as Record<string, unknown>)
        .find((line) => line['msg'] === 'call ended' && line['call_sid'] === sid),
      { reason },
    )
  }
  const page = await (await fetch(`http://127.0.0.1:${gateway.opsPort}/metrics`)).text()
  for (const [, , reason] of ENDS) {
    const calls = ENDS.filter((end) => end[2] === reason).length
    t.match(page, new RegExp(`mkondo_call_ends_total\\{[^}]*reason="${reason}"\\} ${calls}\\b`))
  }
  t.match(
    page,
    /mkondo_call_ends_total\{[^}]*reason="process-died"\} 0/,
    'a reason that did not come up is there too, for its first rate',
  )
})
