/** A bench with its own options, or a part of the main bench. */
interface Bench {
  /** Loads the bench; null for a part of the main bench. */
  readonly load: (() => Promise<(argv: readonly string[]) => Promise<number>>) | null
  /**
   * Options of a smoke run: it starts, makes a few calls and ends with a verdict, within few minutes. It does not
   * measure. `.ci/more benches` runs all of them.
   */
  readonly smoke: readonly string[]
  /** True if the verdict depends on times. A smoke run on a busy machine may then miss the targets. */
  readonly isTimed: boolean
}

const PART = { load: null, smoke: [], isTimed: false }
const FEW = ['--calls', '2', '--seconds', '2']

/** All benches, by the option that selects them. */
export const BENCHES: Readonly<Record<string, Bench>> = {
  '--level': {
    ...PART,
    smoke: ['L2-prod', '--subject', 'mkondo', '--calls', '4', '--seconds', '6', '--repeat', '1', '--lateness', '100'],
  },
  '--micro': { ...PART, smoke: ['--quick'] },
  '--against': {
    load: async () => (await import('./against/main.js')).againstBench,
    smoke: ['HEAD', ...FEW, '--repeat', '1'],
    isTimed: true,
  },
  '--turns': {
    load: async () => (await import('./turns/main.js')).turnsBench,
    smoke: [...FEW, '--takeovers', '2'],
    isTimed: true,
  },
  '--endpointing': {
    load: async () => (await import('./endpointing/main.js')).endpointingBench,
    smoke: ['--quick', '--speaker', 'allison'],
    isTimed: false,
  },
  '--interaction': {
    load: async () => (await import('./interaction/main.js')).interactionBench,
    smoke: ['--quick', '--condition', 'clean', '--only', 'interruptions'],
    isTimed: true,
  },
  '--recognition': {
    load: async () => (await import('./recognition/main.js')).recognitionBench,
    smoke: ['--quick', '--numbers', '20'],
    isTimed: false,
  },
  '--vad': { load: async () => (await import('./vad/main.js')).vadBench, smoke: ['--quick'], isTimed: false },
  '--flood': {
    load: async () => (await import('./flood/main.js')).floodBench,
    smoke: FEW,
    isTimed: true,
  },
  '--messages': {
    load: async () => (await import('./messages/main.js')).messagesBench,
    smoke: ['--calls', '2', '--seconds', '5', '--rounds', '1'],
    isTimed: true,
  },
  '--fleet': {
    load: async () => (await import('./fleet/main.js')).fleetBench,
    smoke: ['--calls', '4', '--seconds', '5', '--fault', 'two of three nodes killed'],
    isTimed: true,
  },
  '--soak': {
    load: async () => (await import('./soak/main.js')).soakBench,
    smoke: ['--minutes', '3', '--calls', '4'],
    isTimed: true,
  },
  '--greeting': {
    load: async () => (await import('./greeting/main.js')).greetingBench,
    smoke: ['--calls', '10'],
    isTimed: true,
  },
  '--phone': {
    load: async () => (await import('./phone/main.js')).phoneBench,
    smoke: ['--calls', '1', '--codec', 'ulaw'],
    isTimed: false,
  },
  '--where': { load: async () => (await import('./where/main.js')).whereBench, smoke: FEW, isTimed: true },
  '--find': {
    load: async () => (await import('./find/main.js')).findBench,
    smoke: ['--records', '1000'],
    isTimed: true,
  },
  '--store': {
    load: async () => (await import('./fleet/store-scale.js')).storeBench,
    smoke: ['--nodes', '2', '--calls', '10', '--seconds', '2'],
    isTimed: true,
  },
}
