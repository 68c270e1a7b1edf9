import { readFile } from 'node:fs/promises'

/** The kernel's figures for the CPU limit of this process's control group. They count from the group's creation. */
interface CgroupCpu {
  /** Periods in which the group ran. */
  readonly periods: number
  /** Periods in which the group was throttled. */
  readonly throttledPeriods: number
  readonly throttledSeconds: number
}

/** Memory of the group that the kernel cannot free, and the group's limit. */
interface CgroupMemory {
  readonly usedBytes: number
  readonly limitBytes: number
}

/** Controller of the group, whose folder is searched at the first read. */
class Controller<T> {
  now: T | null = null
  readonly #read: (path: string) => Promise<string>
  readonly #folders: readonly string[]
  readonly #parse: (folder: string) => Promise<T | null>
  /** Folder of the controller; null if this machine does not have the controller. */
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
      this.now = null // the group was removed, or cannot be read any more
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

  /** Figures of the last reading; null if they are unknown. */
  get cpu(): CgroupCpu | null {
    return this.#cpu.now
  }

  get memory(): CgroupMemory | null {
    return this.#memory.now
  }

  /** Starts a read, unless a read is already running. Never rejects. */
  async look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    await Promise.all([this.#cpu.look(), this.#memory.look()])
    this.#looking = false
  }
}

/** Reads a cpu.stat of version 2 or 1; null if there is no limit, or if the text is not a cpu.stat. */
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
 * Reads a memory.stat and its limit, of version 2 or 1; null without a limit. The file cache does not count, because
 * the kernel frees it before it kills a process.
 */
export function parseMemory(stat: string, limit: string): CgroupMemory | null {
  const limitBytes = /^\d+\n?$/.test(limit) ? Number(limit) : Infinity // `max`
  // Version 1 uses the largest multiple of a page for "no limit".
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
 * Folders that may contain the files of this process's control group. In a container it is the root of the groups.
 * Outside, /proc/self/cgroup contains the group's path.
 * @param controllers folders of version 1
 */
export function cgroupFolders(procSelfCgroup: string, controllers: readonly string[]): string[] {
  const own = /^0::(\/[^\n]*)$/m.exec(procSelfCgroup)?.[1]
  const folders = ['/sys/fs/cgroup', ...controllers.map((controller) => `/sys/fs/cgroup/${controller}`)]
  return own === undefined || own === '/' || own.includes('..') ? folders : [`/sys/fs/cgroup${own}`, ...folders]
}
