import { createSocket, type Socket } from 'node:dgram'
import { createServer } from 'node:net'

/**
 * Below the ports that systems give out by themselves (Linux: from 32768, macOS: from 49152): a port of those that was
 * free a moment ago may be somebody's connection when a process has at last started.
 */
const FROM = 12_000
const TO = 32_000

/** The first of `count` ports in a row that nobody has on any address, and that no test gets again while this process runs. */
export async function freePorts(count: number): Promise<number> {
  for (;;) {
    const first = FROM + Math.floor(Math.random() * (TO - FROM - count))
    const row = Array.from({ length: count }, (_, i) => first + i)
    const marks = await Promise.all(row.map(mark))
    if (!marks.includes(null) && (await Promise.all(row.map(isFree))).every(Boolean)) return first
    for (const taken of marks) taken?.close()
  }
}

export const freePort = (): Promise<number> => freePorts(1)

/**
 * Takes the port's number for UDP, which nothing here uses: the tests of all processes see that it is given away, until
 * its server listens and after that, and the kernel lets it go with the process.
 */
function mark(port: number): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4').unref()
    socket.once('error', () => socket.close(() => resolve(null)))
    socket.bind({ port, exclusive: true }, () => resolve(socket))
  })
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, () => probe.close(() => resolve(true)))
  })
}
