// Cost of pacing alone: uWebSockets.js and one clock. A frame is copied when it arrives. It is sent back at the next
// tick, instead of in the callback that received it. The ticks are those of the gateway's main thread.
import { App, us_socket_local_port } from 'uWebSockets.js'
import { ready } from './peer.mjs'

const TICK_MS = 5

const open = new Set()

App()
  .ws('/*', {
    maxPayloadLength: 64 * 1024,
    maxBackpressure: 256 * 1024,
    idleTimeout: 60,
    upgrade: (res, req, context) => {
      res.upgrade(
        { held: Buffer.alloc(64 * 1024), bytes: 0 },
        req.getHeader('sec-websocket-key'),
        'audio.drachtio.org',
        '',
        context,
      )
    },
    open: (ws) => {
      open.add(ws)
    },
    message: (ws, message) => {
      const call = ws.getUserData()
      // If more than two seconds of audio are waiting, the frame is dropped; the bench will notice this.
      if (call.bytes + message.byteLength > call.held.length) return
      call.held.set(new Uint8Array(message), call.bytes)
      call.bytes += message.byteLength
    },
    close: (ws) => {
      open.delete(ws)
    },
  })
  .listen('127.0.0.1', 0, (listener) => ready(us_socket_local_port(listener)))

let dueMs = performance.now()
function tick() {
  dueMs += TICK_MS
  setTimeout(tick, Math.max(0, dueMs - performance.now()))
  for (const ws of open) {
    const call = ws.getUserData()
    if (call.bytes === 0) continue
    ws.send(call.held.subarray(0, call.bytes), true)
    call.bytes = 0
  }
}
tick()
