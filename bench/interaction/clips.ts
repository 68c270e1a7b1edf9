import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { messageOf } from '../../src/core/errors.js'
import { FRAME_MS, type LegRateHz } from '../../src/core/units.js'
import { joined, peakOf } from '../../src/media/pcm.js'
import { channelOf, parseWav } from '../../src/media/wav.js'
import { atSpeechLevel, dbToGain, rmsOf } from '../../src/carrier/line.js'
import { nearlyNormal, seededRandom } from '../../src/carrier/random.js'
import { voicedExtent } from '../../src/carrier/speech-spans.js'
import { CALLER_VOICES } from '../../src/carrier/choices.js'
import { atRate } from '../../src/simulator/vendors/double.js'
import type { Flite } from '../../src/speech/flite.js'
import { type Material, readRecording, recordings, spread } from '../material.js'

/** A sound or words of a caller, from the first voiced sample to the last, at the leg's rate. */
export interface Clip {
  /** Name in the tables: `no`, `mm`, `cough`, or the name of the recording. */
  readonly name: string
  readonly pcm: Int16Array
}

/** All sounds and words of one person. */
export interface PersonClips {
  /** Turns, spoken while the agent is silent. One in three contains a pause of 0.4 to 1.0 s. */
  readonly turns: readonly Clip[]
  readonly interruptions: readonly Clip[]
  readonly backchannels: readonly Clip[]
  readonly tics: readonly Clip[]
  /** Speech to another person: softer, and without high frequencies. */
  readonly others: readonly Clip[]
}

/** People who recorded prompts for Debian. */
export const RECORDED = ['allison', 'june', 'carlo'] as const satisfies readonly Material[]
const SWAHILI = ['sw+m3', 'sw+f2', 'sw+m7'] as const
/** Allison speaks English, June French, Carlo Italian. All other voices are flite's voices. */
export const PEOPLE = [...RECORDED, ...CALLER_VOICES] as const
export const SWAHILI_PEOPLE = SWAHILI
export type Person = (typeof PEOPLE)[number] | (typeof SWAHILI)[number]

/** Codecs between the phone and the carrier. `g711` and `wide` are the carrier's own line, with 8 and 16 kHz. */
export const LINES = ['g711', 'wide', 'gsm', 'amr'] as const
export type Line = (typeof LINES)[number]
export const rateOf = (line: Line): LegRateHz => (line === 'wide' ? 16_000 : 8000)

const SENTENCE_MS = [1000, 2600] as const
const WORD_MS = [350, 900] as const
const SENTENCES = 8
/**
 * Maximum duration in ms of quiet that is not a pause. The sentences of callers are chosen so that they contain no
 * pause.
 */
const PAUSE_MS_MAX = 250
const INSERTED_PAUSE_MS = [400, 1000] as const
const OTHERS_DB = -9
/** Frequency in Hz above which τ-voice muffles a voice. */
const OTHERS_BELOW_HZ = 1500
const BACKCHANNEL_DB = -3
const CODED_EDGE_MS = 200
const CODER_BYTES_MAX = 16 * 1024 * 1024
const COUGHS = 3

const ENGLISH = {
  turns: [
    'Where is my order please',
    'I would like to change the delivery address',
    'Can you tell me when it will arrive',
    'The parcel that I got on Monday was the wrong one',
    'My order number is four one two seven',
    'I paid for it last week with my phone',
  ],
  interruptions: [
    'no',
    'stop',
    'wait',
    'no no',
    'that is not my order',
    'can I ask you something',
    'it is the blue one',
    'excuse me',
  ],
  backchannels: ['okay', 'yes', 'right', 'uh huh', 'yeah', 'sure'],
  tics: ['um', 'uh'],
  others: ['the keys are on the table', 'I will be there in a minute', 'can you close the door please'],
} as const

const KISWAHILI = {
  turns: [
    'Mzigo wangu uko wapi tafadhali',
    'Nataka kubadilisha anwani ya kupokea mzigo',
    'Unaweza kuniambia utafika lini',
    'Nilipokea kitu ambacho sikuagiza jana',
    'Nililipa wiki iliyopita kwa simu',
  ],
  interruptions: ['hapana', 'acha', 'subiri', 'simama', 'ngoja kidogo', 'hiyo sio oda yangu', 'naomba kuuliza swali'],
  backchannels: ['ndiyo', 'sawa', 'haya', 'sawa sawa', 'naam', 'poa'],
  tics: ['eem'],
  others: ['funguo ziko juu ya meza', 'nakuja sasa hivi', 'funga mlango tafadhali'],
} as const

type Words = typeof ENGLISH | typeof KISWAHILI

/** Clips of a person for one line. With the same seed, the clips are the same. */
export async function clipsOf(person: Person, line: Line, flite: Flite, seed: number): Promise<PersonClips> {
  const rateHz = rateOf(line)
  const said = isRecorded(person)
    ? await recordedClips(person, rateHz)
    : isSwahili(person)
      ? await spokenClips(KISWAHILI, (text) => espeak(person, text), rateHz)
      : await spokenClips(ENGLISH, (text) => Promise.resolve(flite.speak(text, person)), rateHz)
  const random = seededRandom(seed)
  const coughs = Array.from({ length: COUGHS }, () => ({ name: 'cough', pcm: cough(rateHz, random) }))
  const clips: PersonClips = {
    turns: said.turns.map((clip, i) => (i % 3 === 1 ? withPause(clip, rateHz, random) : clip)),
    interruptions: said.interruptions,
    backchannels: said.backchannels.map(({ name, pcm }) => ({ name, pcm: scaled(pcm, BACKCHANNEL_DB) })),
    tics: [...coughs, ...said.tics],
    others: said.others.map(({ name, pcm }) => ({ name, pcm: scaled(muffled(pcm, rateHz), OTHERS_DB) })),
  }
  if (line === 'g711' || line === 'wide') return clips
  const coded = (all: readonly Clip[]): Promise<Clip[]> =>
    Promise.all(all.map(async ({ name, pcm }) => ({ name, pcm: await throughCoder(pcm, line) })))
  return {
    turns: await coded(clips.turns),
    interruptions: await coded(clips.interruptions),
    backchannels: await coded(clips.backchannels),
    tics: await coded(clips.tics),
    others: await coded(clips.others),
  }
}

/** Sentences that a person recorded, at the level of speech. */
export async function sentencesOf(
  person: (typeof RECORDED)[number],
  rateHz: LegRateHz,
  count: number,
): Promise<Clip[]> {
  return recordedBetween(person, rateHz, SENTENCE_MS, count)
}

function isRecorded(person: Person): person is (typeof RECORDED)[number] {
  return RECORDED.some((one) => one === person)
}

function isSwahili(person: Person): person is (typeof SWAHILI)[number] {
  return SWAHILI.some((one) => one === person)
}

/** Prompts that are not speech, or not a sentence of somebody who talks. */
const NO_PROSE = /silence|beep|tone|monkeys|join|leave|weasels|digits|letters|phonetic|spy-/

/** Prompts of each person that contain no pause, with their durations in ms. They are read once. */
const proseKnown = new Map<Material, Promise<readonly { readonly name: string; readonly ms: number }[]>>()

async function proseOf(person: Material): Promise<readonly { readonly name: string; readonly ms: number }[]> {
  const found: { readonly name: string; readonly ms: number }[] = []
  for (const name of recordings(person)) {
    if (NO_PROSE.test(name)) continue
    // The narrow-band file is fast to read.
    const voice = trimmed(atSpeechLevel(await readRecording(person, name, 8000), 8000), 8000)
    if (longestPauseMs(voice, 8000) <= PAUSE_MS_MAX) found.push({ name, ms: voice.length / 8 })
  }
  return found
}

async function recordedBetween(
  person: (typeof RECORDED)[number],
  rateHz: LegRateHz,
  [leastMs, mostMs]: readonly [number, number],
  count: number,
): Promise<Clip[]> {
  const prose = proseKnown.get(person) ?? proseOf(person)
  proseKnown.set(person, prose)
  const found = (await prose).filter(({ ms }) => ms >= leastMs && ms <= mostMs)
  return Promise.all(spread(found, count).map(({ name }) => recordedClip(person, name, rateHz)))
}

async function recordedClip(person: Material, name: string, rateHz: LegRateHz): Promise<Clip> {
  const pcm = await readRecording(person, name, rateHz)
  return { name: name === 'vm-no' ? 'no' : name, pcm: trimmed(atSpeechLevel(pcm, rateHz), rateHz) }
}

async function recordedClips(person: (typeof RECORDED)[number], rateHz: LegRateHz): Promise<PersonClips> {
  const sentences = await recordedBetween(person, rateHz, SENTENCE_MS, 3 * SENTENCES)
  const words = await recordedBetween(person, rateHz, WORD_MS, 3)
  const every = (from: number): Clip[] => sentences.filter((_, i) => i % 3 === from)
  const no = await recordedClip(person, 'vm-no', rateHz)
  const letter = await recordedClip(person, 'letters/m', rateHz)
  return {
    turns: every(0),
    interruptions: alternating([no, ...words], every(1)),
    backchannels: humsOf(letter.pcm, rateHz),
    tics: [],
    others: every(2),
  }
}

async function spokenClips(
  words: Words,
  speak: (text: string) => Promise<{ readonly pcm: Int16Array; readonly sampleRateHz: number }>,
  rateHz: LegRateHz,
): Promise<PersonClips> {
  const clip = async (text: string): Promise<Clip> => {
    const { pcm, sampleRateHz } = await speak(text)
    return { name: text, pcm: trimmed(atSpeechLevel(atRate(pcm, sampleRateHz, rateHz), rateHz), rateHz) }
  }
  const all = (texts: readonly string[]): Promise<Clip[]> => Promise.all(texts.map(clip))
  const letter = await clip('m')
  return {
    turns: await all(words.turns),
    interruptions: await all(words.interruptions),
    backchannels: [...(await all(words.backchannels)), ...humsOf(letter.pcm, rateHz)],
    tics: await all(words.tics),
    others: await all(words.others),
  }
}

async function espeak(
  voice: string,
  text: string,
): Promise<{ readonly pcm: Int16Array; readonly sampleRateHz: number }> {
  const { stdout } = await promisify(execFile)('espeak-ng', ['-v', voice, '--stdout', text], {
    encoding: 'buffer',
    maxBuffer: CODER_BYTES_MAX,
  })
  // Writes the length, which is missing in the header because the file was written to a pipe.
  stdout.writeUInt32LE(stdout.length - 8, 4)
  stdout.writeUInt32LE(stdout.length - 44, 40)
  const wav = parseWav(stdout)
  return { pcm: channelOf(wav, 0), sampleRateHz: wav.sampleRateHz }
}

/** "mm" and "mm-hm", made from the nasal end of the spoken letter M, which sounds like humming. */
function humsOf(letter: Int16Array, rateHz: number): Clip[] {
  const nasal = letter.subarray(Math.floor(letter.length * 0.55), Math.floor(letter.length * 0.95))
  const hum = (ms: number): Int16Array => {
    const out = new Int16Array((ms * rateHz) / 1000)
    const fade = (20 * rateHz) / 1000
    // The sound is repeated forwards and backwards, so that there is no audible step between repetitions.
    for (let i = 0; i < out.length; i++) {
      const at = i % (2 * nasal.length - 2)
      const edge = Math.min(1, i / fade, (out.length - 1 - i) / fade)
      out[i] = Math.round(edge * (nasal[at < nasal.length ? at : 2 * nasal.length - 2 - at] ?? 0))
    }
    return atSpeechLevel(out, rateHz)
  }
  return [
    { name: 'mm', pcm: hum(260) },
    { name: 'mm-hm', pcm: joined([hum(180), new Int16Array((70 * rateHz) / 1000), hum(240)]) },
    { name: 'mmm', pcm: hum(460) },
  ]
}

/** A cough: one or two bursts of breath. Each burst begins abruptly. */
function cough(rateHz: number, random: () => number): Int16Array {
  const bursts = random() < 0.6 ? 2 : 1
  const parts: Int16Array[] = []
  for (let burst = 0; burst < bursts; burst++) {
    const out = new Int16Array(Math.round(rateHz * (0.12 + 0.1 * random())))
    const decay = rateHz * (0.03 + 0.03 * random())
    const turn = (2 * Math.PI * (500 + 500 * random())) / rateHz
    // The throat: one broad resonance in the noise.
    const keep = 0.9
    let y1 = 0
    let y2 = 0
    for (let i = 0; i < out.length; i++) {
      const attack = Math.min(1, i / (rateHz * 0.004))
      const y = nearlyNormal(random) + 2 * keep * Math.cos(turn) * y1 - keep * keep * y2
      y2 = y1
      y1 = y
      out[i] = Math.round(900 * attack * Math.exp(-i / decay) * y)
    }
    parts.push(out, new Int16Array(Math.round(rateHz * (0.06 + 0.1 * random()))))
  }
  const pcm = joined(parts)
  const gain = 14_000 / Math.max(1, peakOf(pcm))
  return trimmed(
    pcm.map((sample) => Math.round(gain * sample)),
    rateHz,
  )
}

/** Inserts a pause at the quietest place inside the clip. */
function withPause({ name, pcm }: Clip, rateHz: number, random: () => number): Clip {
  const block = (FRAME_MS * rateHz) / 1000
  const [from, to] = [Math.floor(pcm.length * 0.25), Math.floor(pcm.length * 0.75)]
  let quietest = { at: from, rms: Infinity }
  for (let at = from; at < to; at += block) {
    const rms = rmsOf(pcm.subarray(at, at + block))
    if (rms < quietest.rms) quietest = { at: at + block / 2, rms }
  }
  const [least, most] = INSERTED_PAUSE_MS
  const pause = new Int16Array(Math.round(((least + (most - least) * random()) * rateHz) / 1000))
  return { name: `${name} (pause)`, pcm: joined([pcm.subarray(0, quietest.at), pause, pcm.subarray(quietest.at)]) }
}

function trimmed(pcm: Int16Array, rateHz: number): Int16Array {
  const { from, to } = voicedExtent(pcm, rateHz)
  return pcm.slice(from, to)
}

function longestPauseMs(pcm: Int16Array, rateHz: number): number {
  const block = (FRAME_MS * rateHz) / 1000
  let longest = 0
  let run = 0
  for (let at = 0; at < pcm.length; at += block) {
    run = rmsOf(pcm.subarray(at, at + block)) < 200 ? run + FRAME_MS : 0
    longest = Math.max(longest, run)
  }
  return longest
}

function scaled(pcm: Int16Array, db: number): Int16Array {
  return pcm.map((sample) => Math.round(dbToGain(db) * sample))
}

/** Low-pass with two poles. It sounds like somebody who has turned away. */
function muffled(pcm: Int16Array, rateHz: number): Int16Array {
  const keep = Math.exp((-2 * Math.PI * OTHERS_BELOW_HZ) / rateHz)
  let first = 0
  let second = 0
  return pcm.map((sample) => {
    first += (1 - keep) * (sample - first)
    second += (1 - keep) * (first - second)
    return Math.round(second)
  })
}

/** Elements of both lists in turn, until the end of the longer list. */
function alternating<T>(these: readonly T[], those: readonly T[]): T[] {
  return Array.from({ length: Math.max(these.length, those.length) }, (_, i) =>
    [these[i], those[i]].filter((one) => one !== undefined),
  ).flat()
}

/** Encodes with GSM 06.10, or AMR at 12.2 kbit/s, and decodes again. */
async function throughCoder(pcm: Int16Array, coder: 'gsm' | 'amr'): Promise<Int16Array> {
  const edge = new Int16Array((CODED_EDGE_MS * 8000) / 1000)
  const raw = ['-t', 'raw', '-r', '8000', '-e', 'signed', '-b', '16', '-c', '1']
  const form = coder === 'gsm' ? ['-r', '8000', '-c', '1', '-t', 'gsm'] : ['-t', 'amr-nb', '-C', '7']
  const padded = joined([edge, pcm, edge])
  const bytes = await sox([...raw, '-', ...form, '-'], Buffer.from(padded.buffer, padded.byteOffset, padded.byteLength))
  const back = await sox(
    [...(coder === 'gsm' ? ['-r', '8000', '-t', 'gsm'] : ['-t', 'amr-nb']), '-', ...raw, '-'],
    bytes,
  )
  const samples = new Int16Array(back.buffer.slice(back.byteOffset, back.byteOffset + 2 * Math.floor(back.length / 2)))
  return samples.slice(edge.length, edge.length + pcm.length)
}

function sox(options: readonly string[], input: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      'sox',
      ['-V1', ...options],
      { encoding: 'buffer', maxBuffer: CODER_BYTES_MAX },
      (error, out) => (error === null ? resolve(out) : reject(new Error(`a coder failed: ${messageOf(error)}`))),
    )
    child.stdin?.on('error', () => undefined)
    child.stdin?.end(input)
  })
}
