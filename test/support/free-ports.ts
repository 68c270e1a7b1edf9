import { createSocket, type Socket } from 'node:dgram'
import { createServer } from 'node:net'

/**
 * First port that is used. It is below the ports that systems assign (Linux: from 32768, macOS: from 49152). An
 * assigned port that was free a moment ago may be in use when a process has started.
 */
const FROM = 12_000
const TO = 32_000

/**
 * First of `count` consecutive ports that are free on all addresses. No other test gets them while this process runs.
 */
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
 * Binds the port's number for UDP, which these tests do not use. The tests of all processes can see that the port is
 * reserved, before and after its server listens. The kernel releases it when the process ends.
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
