import { createServer } from 'node:net'

/**
 * Listens at the address and port of its arguments, for a test that stops it (SIGSTOP) and fills its queue: the kernel then
 * drops what asks for a connection, as an address does that leads nowhere.
 */
const [, , host, port] = process.argv
createServer((socket) => socket.on('error', () => undefined)).listen(
  { host, port: Number(port), backlog: 1 },
  () => void process.stdout.write('up'),
)
