import { spawn, spawnSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Frame, Sample, Thread } from './shares.js'

/** Samples per second. It is a prime number, so that samples are not in step with ticks. */
const SAMPLES_PER_SECOND = 997
/** Maximum time in ms that `perf record` needs at its end to write its data. */
const PERF_END_MS_MAX = 20_000
/** Code that only media workers run. */
const WORKER_CODE = /\/src\/workers\/worker\//

/** Options with which Node gives perf the names of JavaScript functions. */
export const PERF_NODE_OPTIONS = ['--perf-basic-prof']

/** File to which V8 writes these names. V8 determines its path. */
export function perfMapOf(pid: number): string {
  return `/tmp/perf-${pid}.map`
}

/** True if this machine has perf, and perf may sample other processes. */
export function hasPerf(): boolean {
  return spawnSync('perf', ['record', '-q', '-e', 'cpu-clock', '-o', '/dev/null', 'true']).status === 0
}

/**
 * Samples all threads of `pid` for `seconds`, and writes the samples to `file`.
 * @throws Error if perf fails
 */
export async function recordPerf(pid: number, seconds: number, file: string): Promise<void> {
  const how = ['-q', '-e', 'cpu-clock', '-F', String(SAMPLES_PER_SECOND), '-g', '-k', 'CLOCK_MONOTONIC']
  const perf = spawn('perf', ['record', ...how, '-p', String(pid), '-o', file, '--', 'sleep', String(seconds)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: seconds * 1000 + PERF_END_MS_MAX,
  })
  let words = ''
  perf.stderr.setEncoding('utf8').on('data', (text: string) => (words = (words + text).slice(-500)))
  const code = await new Promise<number | null>((resolve, reject) => perf.once('error', reject).once('close', resolve))
  if (code !== 0) throw new Error(`perf record ended with ${code ?? 'a signal'}: ${words.trim()}`)
}

/** @param pid process that was sampled */
export function samplesOfPerf(file: string, pid: number): Promise<readonly Sample[]> {
  const perf = spawn('perf', ['script', '-i', file, '-F', 'tid,time,ip,sym,dso'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return samplesOfScript(createInterface({ input: perf.stdout }), pid)
}

/** @param lines  output of `perf script` with the fields tid, time, ip, sym, dso */
export async function samplesOfScript(lines: AsyncIterable<string>, pid: number): Promise<readonly Sample[]> {
  const taken: { readonly tid: number; readonly atMs: number; readonly stack: Frame[] }[] = []
  for await (const line of lines) {
    const head = /^\s*(\d+)\s+([\d.]+):/.exec(line)
    if (head !== null) taken.push({ tid: Number(head[1]), atMs: Number(head[2]) * 1000, stack: [] })
    const frame = /^\s+[0-9a-f]+ (.*) \(([^()]*)\)$/.exec(line)
    if (frame !== null) taken.at(-1)?.stack.push(perfFrame(frame[1] as string, frame[2] as string))
  }
  const workers = new Map<number, number>()
  for (const { tid, stack } of taken)
    if (stack.some(({ file }) => WORKER_CODE.test(file))) workers.set(tid, (workers.get(tid) ?? 0) + 1)
  const [worker] = [...workers].toSorted((a, b) => b[1] - a[1])[0] ?? []
  const threadOf = (tid: number): Thread => (tid === pid ? 'main' : tid === worker ? 'worker' : 'other')
  return taken.map(({ tid, atMs, stack }) => ({ thread: threadOf(tid), atMs, weight: 1, stack }))
}

/**
 * In the name of a JavaScript function, perf includes the file: `JS:*push
 * file:///srv/mkondo/dist/src/media/pcm.js:20:3`.
 */
function perfFrame(name: string, library: string): Frame {
  const js = /^(?:JS|LazyCompile|Function|Eval|Script):[*~^+]?(.*?) ?((?:file:\/\/|node:|\/)\S*?)(?::\d+)*$/.exec(name)
  return js === null ? { name, file: library } : { name: js[1] || '(anonymous)', file: js[2] as string }
}

interface V8Profile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string }
    readonly children?: readonly number[]
  }[]
  /** Microseconds of `CLOCK_MONOTONIC`. */
  readonly startTime: number
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

/** Samples of the profiles that `isolate-probe` has written to `folder`. Idle time is left out. */
export function samplesOfV8(folder: string): readonly Sample[] {
  const names = readdirSync(folder).filter((name) => name.endsWith('.cpuprofile'))
  return names.flatMap((name) =>
    samplesOfProfile(
      JSON.parse(readFileSync(join(folder, name), 'utf8')) as V8Profile,
      basename(name).includes('-thread0-') ? 'main' : 'worker',
    ),
  )
}

function samplesOfProfile({ nodes, startTime, samples, timeDeltas }: V8Profile, thread: Thread): readonly Sample[] {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)))
  const stacks = new Map<number, readonly Frame[]>()
  const stackOf = (id: number | undefined): readonly Frame[] => {
    const node = id === undefined ? undefined : byId.get(id)
    if (node === undefined) return []
    const { functionName: name, url: file } = node.callFrame
    const stack = stacks.get(node.id) ?? [{ name, file }, ...stackOf(parents.get(node.id))]
    stacks.set(node.id, stack)
    return stack
  }
  let atUs = startTime
  return samples.flatMap((id, i) => {
    const beganUs = (atUs += timeDeltas[i] ?? 0)
    const stack = stackOf(id)
    if (stack[0]?.name === '(idle)') return []
    return [{ thread, atMs: beganUs / 1000, weight: Math.max(0, timeDeltas[i + 1] ?? 0), stack }]
  })
}
