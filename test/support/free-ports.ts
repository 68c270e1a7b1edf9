import { createServer } from 'node:net'

/**
 * Below the ports that systems give out by themselves (Linux: from 32768, macOS: from 49152): a port of those that was
 * free a moment ago may be somebody's connection when a process has at last started.
 */
const FROM = 12_000
const TO = 32_000

/** The first of `count` ports in a row that nobody has on any address. */
export async function freePorts(count: number): Promise<number> {
  for (;;) {
    const first = FROM + Math.floor(Math.random() * (TO - FROM - count))
    const free = await Promise.all(Array.from({ length: count }, (_, i) => isFree(first + i)))
    if (free.every(Boolean)) return first
  }
}

export const freePort = (): Promise<number> => freePorts(1)

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, () => probe.close(() => resolve(true)))
  })
}
