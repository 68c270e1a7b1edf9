import { readFile } from 'node:fs/promises'

/** What the kernel says of a processor limit of this process's control group; all since the group was made. */
interface CgroupCpu {
  /** Periods in which it ran at all, and those in which it was stopped because its share was used up. */
  readonly periods: number
  readonly throttledPeriods: number
  readonly throttledSeconds: number
}

/** A cpu.stat of version 2 or 1; null when it says nothing of a limit (a group without one, or not a cpu.stat). */
export function parseCpuStat(text: string): CgroupCpu | null {
  const values = new Map<string, number>()
  for (const line of text.split('\n')) {
    const [name, value] = line.split(' ')
    if (name !== undefined && value !== undefined && /^\d+$/.test(value)) values.set(name, Number(value))
  }
  const periods = values.get('nr_periods')
  const throttledPeriods = values.get('nr_throttled')
  if (periods === undefined || throttledPeriods === undefined) return null
  const usec = values.get('throttled_usec')
  const nsec = values.get('throttled_time') // version 1
  return { periods, throttledPeriods, throttledSeconds: usec === undefined ? (nsec ?? 0) / 1e9 : usec / 1e6 }
}

/** Where cpu.stat may lie: in a container the group is the root, on a machine its path stands in /proc/self/cgroup. */
export function cpuStatPaths(procSelfCgroup: string): string[] {
  const own = /^0::(\/[^\n]*)$/m.exec(procSelfCgroup)?.[1]
  const paths = ['/sys/fs/cgroup/cpu.stat', '/sys/fs/cgroup/cpu/cpu.stat', '/sys/fs/cgroup/cpu,cpuacct/cpu.stat']
  return own === undefined || own === '/' || own.includes('..') ? paths : [`/sys/fs/cgroup${own}/cpu.stat`, ...paths]
}

/** Looks at this process's cpu.stat now and then, without holding anything up. */
export class CgroupWatch {
  /** As of the last look; null while, or where, nothing is known. */
  now: CgroupCpu | null = null
  readonly #read: (path: string) => Promise<string>
  #path: string | null | undefined
  #looking = false

  constructor(read: (path: string) => Promise<string> = (path) => readFile(path, 'utf8')) {
    this.#read = read
  }

  /** Begins a look, unless one is under way. Never rejects. */
  async look(): Promise<void> {
    if (this.#looking || this.#path === null) return
    this.#looking = true
    try {
      this.now = this.#path === undefined ? await this.#find() : parseCpuStat(await this.#read(this.#path))
    } catch {
      this.now = null // the group was removed under us, or may not be read: not known any more
    } finally {
      this.#looking = false
    }
  }

  async #find(): Promise<CgroupCpu | null> {
    const groups = await this.#read('/proc/self/cgroup').catch(() => '')
    for (const path of cpuStatPaths(groups)) {
      const found = parseCpuStat(await this.#read(path).catch(() => ''))
      if (found === null) continue
      this.#path = path
      return found
    }
    this.#path = null // there is none on this machine, and none will come
    return null
  }
}
