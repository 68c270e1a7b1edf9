// Cost of pacing by itself: uWebSockets.js and one clock. A frame is copied when it comes and goes back at the next of the
// ticks that the gateway's main thread keeps, in place of the callback that brought it.
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
      // More than two seconds: lost, as the bench will see.
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
