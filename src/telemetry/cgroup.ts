import { readFile } from 'node:fs/promises'

/** The kernel's figures for the CPU limit of this process's control group, since the group was created. */
interface CgroupCpu {
  /** Periods in which it ran at all, and those in which it was throttled. */
  readonly periods: number
  readonly throttledPeriods: number
  readonly throttledSeconds: number
}

/** The group's memory that the kernel cannot take back, and its limit. */
interface CgroupMemory {
  readonly usedBytes: number
  readonly limitBytes: number
}

/** A controller of the group, found at the first look. */
class Controller<T> {
  now: T | null = null
  readonly #read: (path: string) => Promise<string>
  readonly #folders: readonly string[]
  readonly #parse: (folder: string) => Promise<T | null>
  /** Null: this machine has none. */
  #folder: string | null | undefined

  constructor(
    read: (path: string) => Promise<string>,
    folders: readonly string[],
    parse: (folder: string) => Promise<T | null>,
  ) {
    this.#read = read
    this.#folders = folders
    this.#parse = parse
  }

  async look(): Promise<void> {
    if (this.#folder === null) return
    try {
      this.now = this.#folder === undefined ? await this.#find() : await this.#parse(this.#folder)
    } catch {
      this.now = null // the group was removed or became unreadable
    }
  }

  async #find(): Promise<T | null> {
    const groups = await this.#read('/proc/self/cgroup').catch(() => '')
    for (const folder of cgroupFolders(groups, this.#folders)) {
      const found = await this.#parse(folder).catch(() => null)
      if (found === null) continue
      this.#folder = folder
      return found
    }
    this.#folder = null
    return null
  }
}

/** Reads the limits of this process's control group without blocking. */
export class CgroupWatch {
  readonly #cpu: Controller<CgroupCpu>
  readonly #memory: Controller<CgroupMemory>
  #looking = false

  constructor(read: (path: string) => Promise<string> = (path) => readFile(path, 'utf8')) {
    this.#cpu = new Controller(read, ['cpu', 'cpu,cpuacct'], async (folder) =>
      parseCpuStat(await read(`${folder}/cpu.stat`)),
    )
    this.#memory = new Controller(read, ['memory'], async (folder) => {
      const limit = await read(`${folder}/memory.max`).catch(() => read(`${folder}/memory.limit_in_bytes`))
      return parseMemory(await read(`${folder}/memory.stat`), limit)
    })
  }

  /** As of the last look; null while, or where, nothing is known. */
  get cpu(): CgroupCpu | null {
    return this.#cpu.now
  }

  get memory(): CgroupMemory | null {
    return this.#memory.now
  }

  /** Starts a read, unless one is under way. Never rejects. */
  async look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    await Promise.all([this.#cpu.look(), this.#memory.look()])
    this.#looking = false
  }
}

/** A cpu.stat of version 2 or 1; null when it holds no limit (a group without one, or not a cpu.stat). */
export function parseCpuStat(text: string): CgroupCpu | null {
  const values = numbersOf(text)
  const periods = values.get('nr_periods')
  const throttledPeriods = values.get('nr_throttled')
  if (periods === undefined || throttledPeriods === undefined) return null
  const usec = values.get('throttled_usec')
  const nsec = values.get('throttled_time') // version 1
  return { periods, throttledPeriods, throttledSeconds: usec === undefined ? (nsec ?? 0) / 1e9 : usec / 1e6 }
}

/**
 * A memory.stat and the limit beside it, of version 2 or 1; null without a limit. File cache does not count: the kernel
 * gives it up before it kills.
 */
export function parseMemory(stat: string, limit: string): CgroupMemory | null {
  const limitBytes = /^\d+\n?$/.test(limit) ? Number(limit) : Infinity // `max`
  // Version 1 writes "no limit" as the largest multiple of a page.
  if (limitBytes >= 2 ** 62) return null
  const values = numbersOf(stat)
  const usedBytes = values.get('anon') ?? values.get('total_rss')
  return usedBytes === undefined ? null : { usedBytes, limitBytes }
}

function numbersOf(text: string): ReadonlyMap<string, number> {
  const values = new Map<string, number>()
  for (const line of text.split('\n')) {
    const [name, value] = line.split(' ')
    if (name !== undefined && value !== undefined && /^\d+$/.test(value)) values.set(name, Number(value))
  }
  return values
}

/**
 * Folders of a control group's files: in a container the group is the root, on a machine its path is in
 * /proc/self/cgroup.
 * @param controllers  folders of version 1
 */
export function cgroupFolders(procSelfCgroup: string, controllers: readonly string[]): string[] {
  const own = /^0::(\/[^\n]*)$/m.exec(procSelfCgroup)?.[1]
  const folders = ['/sys/fs/cgroup', ...controllers.map((controller) => `/sys/fs/cgroup/${controller}`)]
  return own === undefined || own === '/' || own.includes('..') ? folders : [`/sys/fs/cgroup${own}`, ...folders]
}
