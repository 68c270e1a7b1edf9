import { readFileSync, readdirSync } from 'node:fs'

/** CPU time of one process so far, in milliseconds. */
interface CpuTime {
  readonly atMs: number
  /** Thread id to CPU time; the main thread has the process's id. */
  readonly threads: ReadonlyMap<number, number>
}

/** Clock ticks of /proc/PID/stat; 100 on every Linux that Node runs on. */
const TICKS_PER_S = 100

/**
 * Reads the CPU time of each thread of `pid` from /proc: in nanoseconds where the kernel keeps schedstat, else in
 * ticks of 10 ms.
 * @throws Error where there is no /proc: the bench accounts for other processes and needs Linux
 */
export function cpuTime(pid: number): CpuTime {
  const threads = new Map<number, number>()
  const folder = `/proc/${pid}/task`
  for (const name of readdirSync(folder)) {
    const ms = threadMs(`${folder}/${name}`)
    if (ms !== null) threads.set(Number(name), ms)
  }
  return { atMs: performance.now(), threads }
}

function threadMs(folder: string): number | null {
  try {
    const ran = Number(readFileSync(`${folder}/schedstat`, 'latin1').split(' ')[0])
    if (ran > 0) return ran / 1e6
    // After the command's name, which may hold anything, fields 14 and 15 are user and system time.
    const fields = readFileSync(`${folder}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ')
    return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_S
  } catch {
    // The thread ended between listing and reading.
    return null
  }
}

/** Cores that a process has used between two readings. */
export interface CpuShare {
  readonly cores: number
  readonly mainCores: number
  /** The busiest other threads, in descending order, for as many as use more than a hundredth of a core. */
  readonly otherCores: readonly number[]
}

export function cpuBetween(pid: number, from: CpuTime, to: CpuTime): CpuShare {
  const wallMs = to.atMs - from.atMs
  const used = [...to.threads].map(([thread, ms]) => ({ thread, cores: Math.max(0, ms - (from.threads.get(thread) ?? 0)) / wallMs }))
  return {
    cores: used.reduce((sum, { cores }) => sum + cores, 0),
    mainCores: used.find(({ thread }) => thread === pid)?.cores ?? 0,
    otherCores: used.filter(({ thread, cores }) => thread !== pid && cores > 0.01).map(({ cores }) => cores).toSorted((a, b) => b - a),
  }
}
