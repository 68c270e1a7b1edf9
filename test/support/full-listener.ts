import { createServer } from 'node:net'

/**
 * Listens at the address and port of its arguments. A test stops this process (SIGSTOP) and fills its queue: the kernel
 * then drops new connections, as for an unreachable address.
 */
const [, , host, port] = process.argv
createServer((socket) => socket.on('error', () => undefined)).listen(
  { host, port: Number(port), backlog: 1 },
  () => void process.stdout.write('up'),
)
