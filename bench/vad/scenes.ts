import { FRAME_MS, frameSamples, type LegRateHz } from '../../src/core/units.js'
import { seededRandom } from '../../src/carrier/random.js'
import { type Album, type Crowd, albumPieces, readRecording, recordings } from '../material.js'
import {
  UTTERANCES_PER_CALL,
  type LabelledCall,
  type Utterances,
  comesAndGoes,
  drawnLeadMs,
  joined,
  makeCalls,
  noiseOf,
  powerOf,
  resampled,
  speakUtterances,
  throughLine,
  truthOf,
  utterancesOf,
  widened,
  atLevel,
} from './corpus.js'
import { drawnStyle, music } from './music.js'
import { crowdUtterances, promptUtterances } from './recorded.js'
import { renderedMusic } from './rendered.js'
import { knocks, type Noise, NOISES, steppingNoise, syllables } from './sounds.js'

/** Origin of a training frame, on which its weight depends. */
export interface Origin {
  /**
   * `call`: a caller over a noise. `changing`: over a noise that comes and goes. `words`: words after long pauses.
   * `talk`: talk with very short pauses. `hold`: music in turn with the caller. `nobody`: no caller.
   */
  readonly scene: 'call' | 'changing' | 'words' | 'talk' | 'hold' | 'nobody'
  readonly sound: Noise | 'none' | 'knocks' | 'steps'
  /** Ratio of speech to noise in dB; 0 if nobody speaks. */
  readonly snrDb: number
}

/** One call for training. */
interface Scene extends Origin {
  readonly rateHz: LegRateHz
  readonly call: LabelledCall
}

/**
 * Lines: telephone lines of 8 kHz; legs of 16 kHz with full bandwidth; and legs of 16 kHz that carry a telephone line
 * of 8 kHz (`tel`).
 */
const LINES = ['8 kHz', '16 kHz', 'tel'] as const
type Line = (typeof LINES)[number]

export interface SceneOptions {
  /** Number of utterances of each synthesised and recorded speaker. */
  readonly utterances: number
  /** Number of calls for each combination of line, noise and signal-to-noise ratio. */
  readonly calls: number
  /** Duration in ms of each sound in which nobody speaks. */
  readonly soundMs: number
  /** Played on sampled instruments. */
  readonly pieces: number
  /** Number of excerpts of each piece of the albums. */
  readonly excerpts: number
  readonly lines?: readonly Line[]
  readonly noises?: readonly Noise[]
  /** False leaves out the content of Debian's packages: recorded people, recorded music and instruments. */
  readonly recorded?: boolean
}

const SNRS_DB = [20, 10, 5, 0] as const
const CHANGING_SNRS_DB = [20, 10, 5] as const
/** Sounds that resemble a caller. There are more calls with these sounds. */
const HARD_SOUNDS = ['babble', 'music'] as const
const HARD_SNRS_DB = [10, 5] as const
const HARD_CALLS = 3
const PEOPLE = ['allison', 'june'] as const
/** Number of utterances of each person: of twenty people who say letters and syllables, and of two actors. */
export const TRAINING_CROWDS = { klettres: 12, czech: 60 } as const satisfies Partial<Record<Crowd, number>>
const CROWD_PITCHES = [1, 1, 0.8, 1, 1.15, 0.88]
/** Pitch factors. Half of the speech is unchanged. The other half sounds like other speakers, mostly larger ones. */
const PITCHES = [1, 0.75, 1, 0.85, 1, 1.15, 1, 0.8]
/** Two of the five pieces in Debian's package. The other three judge the detector. */
const TRAINING_MUSIC = ['macroform-cold_day', 'macroform-robot_dity'] as const
export const TRAINING_ALBUMS: readonly Album[] = ['hyperrogue', 'supertux', 'wesnoth']
/**
 * Maximum time in ms before a caller speaks. Callers who listen to the greeting speak only after some seconds, so the
 * first seconds must not be learned as speech.
 */
const LEAD_MS_MAX = 12_000
const MUSIC_DBFS = -22
/**
 * Factor for the duration of steady noises. The first stage regards only few of their frames as likely speech, so more
 * noise is needed.
 */
const STEADY_TIMES = 5
const KNOCKING = 4
const STEPPING = 6
const DRAWN_PIECES = 16
/** Power below which a part of a piece counts as silent. Some pieces are silent for a while. */
const SILENT_POWER = 100
/** Number of voices without words for each synthesised utterance. */
const WORDLESS = 0.4
const WORD_CALLS = 12
const WORDS_PER_CALL = 8
const WORD_SNR_DB_MIN = 5
const TALKS = 3
/** Six utterances each. */
const TALKING_CALLERS = 4
const TALK_SNRS_DB = [Infinity, 20, 10]
const HOLDS = 8
const WORDS = /^(digits\/\d+|letters\/[a-z]|vm-(yes|no|and|or))$/

/** Material at one rate. */
interface Material {
  readonly utterances: Utterances
  /** Number of synthesised utterances. They are the first of `utterances`. */
  readonly synthesised: number
  readonly pieces: readonly Float64Array[]
  /** Words that are spoken alone: digits and similar words. */
  readonly words: readonly Float64Array[]
}

/**
 * Material from which the detector's numbers are derived. It contains synthesised voices, words, music and seeds that
 * no other split uses (`splits.ts`), recordings of two people, two recorded pieces of music, and pieces on sampled
 * instruments. Scenes without a speaker contain noise that starts, stops and changes its level, people at other tables,
 * knocks and music.
 */
export async function* trainingScenes(options: SceneOptions): AsyncGenerator<Scene> {
  const { noises = NOISES, lines = LINES } = options
  const rates = new Set(lines.map(rateOf))
  const material = new Map<LegRateHz, Material>()
  const played = options.recorded === false ? [] : await recordedMusic(options)
  for (const rateHz of rates) material.set(rateHz, await materialAt(rateHz, options, played))
  const places = lines.map((line, l) => placeOf(line, l, material))
  for (const [l, { rateHz, telephone, pieces, words, callers, onLine }] of places.entries()) {
    const waits = { telephone, leadMsMax: LEAD_MS_MAX }
    const quiet = { utterances: callers(3 * options.calls), noise: null, snrDb: 0, seed: 11 + l, ...waits }
    for (const call of makeCalls(quiet)) yield { scene: 'call', sound: 'none', snrDb: Infinity, ...onLine(call) }
    for (const [n, sound] of noises.entries()) {
      for (const snrDb of SNRS_DB) {
        const seed = 100 * (l + 1) + 10 * n + snrDb
        const plan = { utterances: callers(options.calls), noise: sound, snrDb, seed, ...waits }
        for (const call of makeCalls(plan)) yield { scene: 'call', sound, snrDb, ...onLine(call) }
      }
      for (const snrDb of CHANGING_SNRS_DB) {
        const seed = 1000 + 100 * (l + 1) + 10 * n + snrDb
        const utterances = callers(Math.ceil(options.calls / 3))
        for (const call of makeCalls({ utterances, noise: sound, snrDb, seed, ...waits, changes: true }))
          yield { scene: 'changing', sound, snrDb, ...onLine(call) }
      }
    }
    for (let i = 0; i < WORD_CALLS * options.calls && words.length > 0; i++) {
      const call = fewWords(words, rateHz, 2500 + 100 * l + i, telephone)
      yield { scene: 'words', sound: 'none', snrDb: Infinity, ...onLine(call) }
    }
    for (let i = 0; i < TALKS * options.calls; i++) {
      const call = talksOn(callers(TALKING_CALLERS), 2700 + 100 * l + i, telephone)
      yield { scene: 'talk', sound: 'none', snrDb: Infinity, ...onLine(call) }
    }
    for (let i = 0; i < HOLDS * options.calls; i++) {
      const call = onHold(callers(1), 2000 + 100 * l + i, telephone)
      yield { scene: 'hold', sound: 'music', snrDb: 0, ...onLine(call) }
    }
    const alone = { utterances: callers(1), pieces, line: l, ms: options.soundMs, noises }
    for (const { sound, samples } of nothingSaid(alone)) {
      const speech = new Array<boolean>(Math.floor(samples.length / frameSamples(rateHz))).fill(false)
      yield {
        scene: 'nobody',
        sound,
        snrDb: 0,
        ...onLine({ samples: throughLine(samples, rateHz, telephone), speech }),
      }
    }
  }
  for (const [l, { telephone, synthesised, hardCallers, onLine }] of places.entries()) {
    for (const [n, sound] of HARD_SOUNDS.entries()) {
      if (!noises.includes(sound)) continue
      for (const snrDb of HARD_SNRS_DB) {
        const seed = 3000 + 100 * (l + 1) + 10 * n + snrDb
        const utterances = hardCallers(HARD_CALLS * options.calls)
        const plan = { utterances, noise: sound, snrDb, seed, telephone, leadMsMax: LEAD_MS_MAX }
        for (const call of makeCalls(plan)) yield { scene: 'call', sound, snrDb, ...onLine(call) }
        // Also uses synthesised music instead of recorded music, and a crowd of synthesised voices.
        const { rateHz: hz, split, voices } = hardCallers(2 * HARD_CALLS * options.calls)
        const drawn = { ...plan, utterances: { rateHz: hz, split, voices, crowd: synthesised }, seed: seed + 50 }
        for (const call of makeCalls(drawn)) yield { scene: 'call', sound, snrDb, ...onLine(call) }
      }
    }
  }
}

/** One kind of line, and its callers. */
interface Place {
  /** Rate of the sound before the line. */
  readonly rateHz: LegRateHz
  readonly telephone: boolean
  readonly pieces: readonly Float64Array[]
  readonly words: readonly Float64Array[]
  readonly synthesised: readonly Float64Array[]
  /** Returns the next `count` callers, with six utterances each. */
  readonly callers: (count: number) => Utterances
  readonly hardCallers: (count: number) => Utterances
  readonly onLine: (call: LabelledCall) => { readonly rateHz: LegRateHz; readonly call: LabelledCall }
}

function placeOf(line: Line, l: number, material: ReadonlyMap<LegRateHz, Material>): Place {
  const rateHz = line === 'tel' ? 8000 : rateOf(line)
  const { utterances, synthesised, pieces, words } = material.get(rateHz) as Material
  const all = utterances.voices
  const from = (start: number): Place['callers'] => {
    let next = start
    return (count) => {
      const voices: Float64Array[] = []
      for (let i = 0; i < count; i++, next++) {
        const first = (next * UTTERANCES_PER_CALL) % (all.length - UTTERANCES_PER_CALL + 1)
        voices.push(...all.slice(first, first + UTTERANCES_PER_CALL))
      }
      return { ...utterances, voices, crowd: all, ...(pieces.length > 0 ? { pieces } : {}) }
    }
  }
  return {
    rateHz,
    telephone: line !== '16 kHz',
    pieces,
    words,
    synthesised: all.slice(0, synthesised),
    callers: from(l),
    hardCallers: from(7 * l + 3),
    onLine: (call) =>
      line === 'tel'
        ? { rateHz: 16_000, call: { samples: widened(call.samples), speech: call.speech } }
        : { rateHz, call },
  }
}

const rateOf = (line: Line): LegRateHz => (line === '8 kHz' ? 8000 : 16_000)

async function recordedMusic({ pieces, excerpts, soundMs }: SceneOptions): Promise<readonly Float64Array[]> {
  const all: Float64Array[] = []
  for (const album of TRAINING_ALBUMS) {
    for (const piece of await albumPieces(album)) {
      const length = frameSamples(16_000) * Math.floor(soundMs / FRAME_MS)
      for (let i = 0; i < excerpts; i++) {
        const from = Math.round(((piece.length - length) * (i + 0.5)) / excerpts)
        const excerpt = Float64Array.from(piece.subarray(from, from + length))
        if (powerOf(excerpt) > SILENT_POWER) all.push(excerpt)
      }
    }
  }
  for (let seed = 1; seed <= pieces; seed++) all.push(await renderedMusic({ seed, ms: soundMs, split: 'training' }))
  return all
}

async function materialAt(
  rateHz: LegRateHz,
  options: SceneOptions,
  played: readonly Float64Array[],
): Promise<Material> {
  const count = options.utterances
  const flite = await speakUtterances(rateHz, count, 'training')
  const wordless = Array.from({ length: Math.ceil(count * WORDLESS) }, (_, i) => ({
    samples: syllables({ rateHz, ms: 1500 + 350 * (i % 7), seed: 8000 + i }),
    sampleRateHz: rateHz,
  }))
  const voices = [...flite.voices, ...utterancesOf(rateHz, 'training', wordless).voices]
  const synthesised = voices.length
  if (options.recorded === false) return { utterances: { ...flite, voices }, synthesised, pieces: [], words: [] }
  for (const [crowd, each] of Object.entries(TRAINING_CROWDS) as [keyof typeof TRAINING_CROWDS, number][])
    voices.push(...(await crowdUtterances(crowd, rateHz, each, 'training', CROWD_PITCHES)).voices)
  for (const person of PEOPLE)
    voices.push(...(await promptUtterances(person, rateHz, count, 'training', PITCHES)).voices)
  const pieces = played.map((piece) =>
    atLevel(rateHz === 16_000 ? piece : resampled(piece, 16_000, rateHz), MUSIC_DBFS),
  )
  for (const name of TRAINING_MUSIC)
    pieces.push(atLevel(Float64Array.from(await readRecording('music', name, rateHz)), MUSIC_DBFS))
  return { utterances: { ...flite, voices }, synthesised, pieces, words: await singleWords(rateHz) }
}

/**
 * A caller who is put on hold after each sentence. The music lasts 3 to 12 s. Its level ranges from slightly louder
 * than the caller to much softer.
 */
function onHold(utterances: Utterances, seed: number, telephone: boolean): LabelledCall {
  const { rateHz, voices } = utterances
  const random = seededRandom(seed)
  const clean: Float64Array[] = []
  const heard: Float64Array[] = []
  voices.forEach((voice, i) => {
    const pause = new Float64Array(Math.round(rateHz * (0.1 + 0.8 * random())))
    const ms = 3000 + 9000 * random()
    const piece = noiseOf('music', { rateHz, ms, seed: 10_000 * seed + i }, utterances)
    const gain = Math.sqrt(powerOf(voice) / Math.max(1, powerOf(piece))) * 10 ** ((4 - 24 * random()) / 20)
    clean.push(pause, voice, new Float64Array(piece.length))
    heard.push(
      pause,
      voice,
      piece.map((value) => gain * value),
    )
  })
  return { samples: throughLine(joined(heard), rateHz, telephone), speech: truthOf(joined(clean), rateHz) }
}

/** About a minute of talk with pauses of 40 to 240 ms, on a line with or without noise. */
function talksOn(utterances: Utterances, seed: number, telephone: boolean): LabelledCall {
  const { rateHz, voices } = utterances
  const random = seededRandom(seed)
  const pause = (ms: number): Float64Array => new Float64Array(Math.round((rateHz * ms) / 1000))
  const lead = pause(drawnLeadMs(LEAD_MS_MAX, random))
  const clean = joined([lead, ...voices.flatMap((voice) => [voice, pause(40 + 200 * random())])])
  const snrDb = TALK_SNRS_DB[seed % TALK_SNRS_DB.length] as number
  const noise = noiseOf('pink', { rateHz, ms: (1000 * clean.length) / rateHz, seed }, utterances)
  const gain = Math.sqrt(powerOf(clean) / powerOf(noise)) * 10 ** (-snrDb / 20)
  const samples = clean.map((value, i) => value + gain * (noise[i] ?? 0))
  return { samples: throughLine(samples, rateHz, telephone), speech: truthOf(clean, rateHz) }
}

function* nothingSaid(plan: {
  readonly utterances: Utterances
  readonly pieces: readonly Float64Array[]
  /** Number of the line. */
  readonly line: number
  readonly ms: number
  readonly noises: readonly Noise[]
}): Generator<{ readonly sound: Origin['sound']; readonly samples: Float64Array }> {
  const { utterances, pieces, line, ms, noises } = plan
  const { rateHz } = utterances
  const random = seededRandom(5 + line)
  const level = (): number => -15 - 25 * random()
  // Recorded music, which is at the end of the list, is used on every line. A rendered piece is used on two of the
  // three lines.
  for (const [i, piece] of pieces.entries())
    if (i >= pieces.length - TRAINING_MUSIC.length || i % 3 !== line)
      yield { sound: 'music', samples: atLevel(piece, level()) }
  for (let seed = 1000 + 100 * line; seed < 1000 + 100 * line + DRAWN_PIECES; seed++)
    yield { sound: 'music', samples: atLevel(music({ rateHz, ms, seed }, drawnStyle(seed)), level()) }
  for (const [n, noise] of noises.entries()) {
    if (noise === 'music') continue
    const length = noise === 'babble' || noise === 'street' ? ms : STEADY_TIMES * ms
    for (const dbfs of [-18, -32, -45]) {
      const seed = 4000 + 100 * line + 10 * n - dbfs
      yield { sound: noise, samples: atLevel(noiseOf(noise, { rateHz, ms: length, seed }, utterances), dbfs) }
    }
    const broken = atLevel(noiseOf(noise, { rateHz, ms, seed: 5000 + 10 * line + n }, utterances), level())
    comesAndGoes(broken, rateHz, random)
    yield { sound: noise, samples: broken }
  }
  for (let seed = 6000 + 100 * line; seed < 6000 + 100 * line + KNOCKING; seed++)
    yield { sound: 'knocks', samples: knocks({ rateHz, ms, seed }) }
  for (let seed = 7000 + 100 * line; seed < 7000 + 100 * line + STEPPING; seed++)
    yield { sound: 'steps', samples: atLevel(steppingNoise({ rateHz, ms, seed }), -25 - 30 * random()) }
}

async function singleWords(rateHz: LegRateHz): Promise<Float64Array[]> {
  const words: Float64Array[] = []
  for (const person of PEOPLE) {
    for (const name of recordings(person).filter((recording) => WORDS.test(recording))) {
      const word = Float64Array.from(await readRecording(person, name, rateHz))
      if (powerOf(word) > 0) words.push(word)
    }
  }
  return words
}

/**
 * One to three words at a time. Between them are 0.4 to 6 s of a line that is silent, or has noise 5 to 50 dB below the
 * words.
 */
function fewWords(words: readonly Float64Array[], rateHz: LegRateHz, seed: number, telephone: boolean): LabelledCall {
  const random = seededRandom(seed)
  const silent = (s: number): Float64Array => new Float64Array(Math.round(rateHz * s))
  const parts: Float64Array[] = [silent(0.3 + 2 * random())]
  const dbfs = -14 - 16 * random()
  for (let i = 0; i < WORDS_PER_CALL; i++) {
    for (let more = 1 + Math.floor(3 * random()); more > 0; more--)
      parts.push(atLevel(words[Math.floor(random() * words.length)] as Float64Array, dbfs), silent(0.06))
    parts.push(silent(random() < 0.5 ? 0.4 + 0.8 * random() : 1 + 5 * random()))
  }
  const clean = joined(parts)
  const speech = truthOf(clean, rateHz)
  const hiss = random() < 0.4 ? 0 : 10 ** ((dbfs - WORD_SNR_DB_MIN - 45 * random()) / 20)
  const noise = noiseOf(
    random() < 0.5 ? 'white' : 'pink',
    { rateHz, ms: (1000 * clean.length) / rateHz, seed },
    {
      rateHz,
      split: 'training',
      voices: words,
    },
  )
  const gain = (32_768 * hiss) / Math.sqrt(powerOf(noise))
  const samples = clean.map((value, i) => value + gain * (noise[i] ?? 0))
  return { samples: throughLine(samples, rateHz, telephone), speech }
}
