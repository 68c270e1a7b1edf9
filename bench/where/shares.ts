/**
 * One frame of a stack: the name of a function, and the file of its code. The file is a path or URL for JavaScript,
 * otherwise the path of a library.
 */
export interface Frame {
  readonly name: string
  readonly file: string
}

/** Main thread, the media worker with the most samples, and all other threads of the process. */
export type Thread = 'main' | 'worker' | 'other'

/** Sample of the CPU time: the code that ran at one moment. */
export interface Sample {
  readonly thread: Thread
  /** `CLOCK_MONOTONIC`. */
  readonly atMs: number
  /** Time that the sample represents, in any unit that is common to all samples of a run. */
  readonly weight: number
  /** Stack of the thread. The function that was running comes first. */
  readonly stack: readonly Frame[]
}

/** Parts of the gateway's CPU time, in the order in which a frame passes them. */
export const SHARES = [
  'carrier socket',
  'ring',
  "caller's path",
  'session',
  'resampling',
  'playout',
  'base64 and JSON',
  'model connection',
  'TLS',
  'kernel',
  'native code',
  'garbage',
  'clocks',
  'compiling',
  'the bench',
  'other',
] as const
export type Share = (typeof SHARES)[number]

/**
 * Shares of JavaScript code by the path of its file. The first match counts. Code in other files counts for its caller.
 */
const BY_PATH: readonly (readonly [path: RegExp, share: Share])[] = [
  [/\/src\/(edge|sautikit)\//, 'carrier socket'],
  [/\/src\/workers\/shared\/(shared-call|call-memory)/, 'ring'],
  [/\/src\/workers\/shared\/ticker\.js|^node:(internal\/)?timers/, 'clocks'],
  [/\/src\/media\/resample\//, 'resampling'],
  [/\/src\/media\/playout\/|\/playout-(clock|feed)\.js|\/call-speech\.js/, 'playout'],
  [/\/src\/media\/|\/caller-intake\.js/, "caller's path"],
  [/\/src\/backends\/transport\/base64/, 'base64 and JSON'],
  [/\/src\/(backends|vendors)\/|\/node_modules\/ws\//, 'model connection'],
  [/^node:(net|_?tls|internal\/(stream|js_stream|streams))/, 'model connection'],
  [/\/src\/(call|workers|agents)\//, 'session'],
  [/\/bench\//, 'the bench'],
]

/** Shares of native functions by name. */
const BY_NAME: readonly (readonly [name: RegExp, share: Share])[] = [
  [/^(us_|uws_)|uWS::/i, 'carrier socket'],
  [/Json(Parse|Stringi|Object)|^(simdutf|base64)|node::StringBytes/, 'base64 and JSON'],
  [/^_*(SSL|TLS|EVP|CRYPTO|OPENSSL|OSSL|BIO|ERR|aes|gcm|ghash|chacha|poly1305|sha\d)_?/i, 'TLS'],
  [/^(ossl|ssl3|tls1?3?|bio|dtls|rand|evp|cipher)_/, 'TLS'],
  [/node::(crypto::|TLSWrap)|NodeBIO/, 'TLS'],
  [
    /node::(StreamBase|LibuvStreamWrap|LibuvWriteWrap|StreamResource|CustomBuffer)|^uv_(_stream|_write|_read|write|try_write)/,
    'model connection',
  ],
  [
    /^uv_(_run_timers|_hrtime|_update_time|_io_poll|run|_run_|_timer)|clock_gettime|HighResolutionTime|PerformanceNow/i,
    'clocks',
  ],
]

/**
 * Names that decide the share at any position in the stack, because a collection runs inside the code that allocated
 * memory.
 */
const ANYWHERE: readonly (readonly [name: RegExp, share: Share])[] = [
  [
    /v8::internal::(Heap::(CollectGarbage|CollectAllGarbage|Scavenge|MarkCompact|PerformGarbage|ReportExternal)|Scaveng|MarkCompact|MajorGC|MinorGC|ConcurrentMarking|IncrementalMarking|MarkingVisitor|MainMarking|Sweeper|Evacuat|ArrayBufferSweeper|ParallelEvacuation|PageEvacuation)|\(garbage collector\)/,
    'garbage',
  ],
  [
    /v8::internal::(compiler::|maglev::|baseline::|interpreter::Bytecode|parsing::|Parser|PreParser|Compiler::|OptimizingCompile|OptimizedCompil|wasm::(Liftoff|WasmCompil|CompilationState|ExecuteCompilation|BackgroundCompile))/,
    'compiling',
  ],
]

const IN_KERNEL = /^\[(kernel|guest\.kernel)/
/** Functions of the C library that call the kernel. */
const SYSTEM_CALL =
  /^(__GI_)?_*(libc_)?(epoll_p?wait|futex|futex_abstimed_wait_\w+|(p?write|p?read|send|recv)(v|to|from|msg)?(64)?|syscall)$/

/** @returns share to which the sample belongs: the share of the innermost frame that has a share */
export function shareOf(stack: readonly Frame[]): Share {
  for (const [pattern, share] of ANYWHERE) if (stack.some(({ name }) => pattern.test(name))) return share
  const [leaf] = stack
  if (leaf !== undefined && (IN_KERNEL.test(leaf.file) || isSystemCall(leaf))) return 'kernel'
  for (const frame of stack) {
    const share = shareOfFrame(frame)
    if (share !== null) return share
  }
  return leaf?.name === '(program)' ? 'native code' : 'other'
}

function isSystemCall({ name, file }: Frame): boolean {
  return /\/libc[.-]|\/libpthread/.test(file) && SYSTEM_CALL.test(name)
}

function shareOfFrame({ name, file }: Frame): Share | null {
  for (const [path, share] of BY_PATH) if (path.test(file)) return share
  if (/\/uws[^/]*\.node$/.test(file)) return 'carrier socket'
  if (file === '[vdso]') return 'clocks'
  for (const [pattern, share] of BY_NAME) if (pattern.test(name)) return share
  return null
}

/** @returns percentage of the weight of all samples, for each share and thread. All percentages together are 100 */
export function sharesOf(samples: readonly Sample[]): ReadonlyMap<Share, Readonly<Record<Thread, number>>> {
  const total = samples.reduce((sum, { weight }) => sum + weight, 0)
  const shares = new Map<Share, Record<Thread, number>>()
  for (const { thread, weight, stack } of samples) {
    const share = shareOf(stack)
    const row = shares.get(share) ?? { main: 0, worker: 0, other: 0 }
    row[thread] += (100 * weight) / total
    shares.set(share, row)
  }
  return shares
}
