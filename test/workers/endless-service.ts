import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'

/** A model's service that sends words without an end to whoever connects. It prints its port. */
const DELTA = JSON.stringify({ type: 'response.output_text.delta', delta: 'a' })
const WAITING_BYTES_MAX = 1_000_000

const server = createServer()
new WebSocketServer({ server }).on('connection', (socket) => {
  const send = (): void => {
    if (socket.readyState !== socket.OPEN) return
    for (let at = 0; at < 1000 && socket.bufferedAmount < WAITING_BYTES_MAX; at++) socket.send(DELTA)
    setImmediate(send)
  }
  socket.on('error', () => undefined)
  send()
})
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port))
