import { basename, join } from 'node:path'
import { loadAgents } from '../../src/agents/file/loader.js'
import { FIT_MIN } from '../../src/backends/embedded/embedded-backend.js'
import { digitsOf, isNumberSaid } from '../../src/backends/embedded/dialogue/heard-digits.js'
import { NOISE_WORDS, Understanding, recognisedWords } from '../../src/backends/embedded/dialogue/understanding.js'
import { packageRoot } from '../../src/config/package-root.js'
import { messageOf } from '../../src/core/errors.js'
import { joined, levelDbfs } from '../../src/media/pcm.js'
import { speakAs } from '../../src/carrier/caller-voices.js'
import { seededRandom } from '../../src/carrier/random.js'
import { loadFlite } from '../../src/speech/flite.js'
import { SpeechClient } from '../../src/speech/speech-client.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { RECOGNISER_RATE_HZ, type DigitCheck } from '../../src/speech/speech-protocol.js'
import { type Options, WrongOption, command, oneOf } from '../kit/command.js'
import { benchProgress } from '../kit/progress.js'
import { materialFolder, missingMaterial, readVoice } from '../material.js'
import { CODINGS, atLevel, resampled, throughLine } from '../vad/corpus.js'
import type { Coding } from '../vad/corpus.js'
import { recordedSentences } from '../vad/recorded.js'
import { pinkNoise } from '../vad/sounds.js'

const HELP = `npm run bench -- --recognition
  How many order numbers of four digits the embedded recogniser hears right, on the order line's grammar: one of the caller's
  own eight orders (known), any number (free) and two digits of one (part), said by Debian's Allison and by flite's voices, as
  recorded (-26 dBFS), in pink noise at 20 dB, clipped (-12 dBFS) and soft (-40 dBFS), on a line of 8 kHz mu-law, in a random
  order of callers; and how often digits and sentences in French and Italian (June, Carlo) are taken for a number.

Options:
  --coding C    pcmu (as above), pcma, or pcm: the same line without G.711
  --quick       as recorded only, and no sentences
  --numbers N   only the first N of the numbers said, in their random order
  --oh          only numbers with a zero in them, and "oh" is said for it
  --voices DIR  sentences of one more person who says no numbers: WAV files, one sentence each; several times`

const RATE_HZ = RECOGNISER_RATE_HZ
const ENGLISH = ['allison', 'rms', 'awb', 'kal'] as const
const FOREIGN = ['june', 'carlo'] as const
type Speaker = (typeof ENGLISH)[number] | (typeof FOREIGN)[number]
const isRecorded = (speaker: Speaker): speaker is 'allison' | 'june' | 'carlo' =>
  speaker === 'allison' || speaker === 'june' || speaker === 'carlo'

/** Level of speech in dBFS, and by how many dB pink noise is softer; null without noise. */
const LINES = { recorded: [-26, null], noise: [-26, 20], clipped: [-12, null], soft: [-40, null] } as const
type Line = keyof typeof LINES

/** Numbers for questions in which any number may be said. Eight of them are used per speaker. */
const NUMBERS = 24
/** Numbers for questions in which eight numbers are known. Each number is one of a group of eight. */
const KNOWN_NUMBERS = 40
const KNOWN = 8
const DIGIT_GAP_MS = 60
const PIECE_MS = 100
/** Maximum number of sentences of one person. */
const SENTENCES = 100
const SENTENCE_LINES = ['recorded', 'noise'] as const
/** Prompts that contain numbers, letters or silence. */
const NO_SENTENCES = /(^|\/)(digits|letters|phonetic|silence)\//

interface Sentence {
  readonly speaker: string
  readonly line: (typeof SENTENCE_LINES)[number]
  readonly pcm: Int16Array
}

interface Taken {
  readonly sentence: Sentence
  readonly heard: string
}

interface Said {
  readonly speaker: Speaker
  readonly line: Line
  readonly kind: 'known' | 'free' | 'part'
  readonly number: string
  /** Orders of the caller; empty if any number may be said. */
  readonly orders: readonly string[]
  readonly pcm: Int16Array
}

const OPTIONS = {
  recognition: { type: 'boolean' },
  oh: { type: 'boolean', default: false },
  coding: { type: 'string', default: 'pcmu' },
  quick: { type: 'boolean', default: false },
  voices: { type: 'string', multiple: true, default: [] },
} satisfies Options

/** Bench of recognition. Its exit code is 1 if the recordings are not installed. */
export const recognitionBench = command(HELP, OPTIONS, { numbers: [null, 1, 10_000] }, async (values) => {
  const coding = oneOf('--coding', values.coding, CODINGS)
  const missing = missingMaterial('allison', 'june', 'carlo')
  if (missing !== null) {
    console.error(`bench: apt-get install --no-install-recommends ${missing}`)
    return 1
  }
  const random = seededRandom(1)
  const numbers = numbersOf(NUMBERS, values.oh, random)
  const known = [...numbers, ...numbersOf(KNOWN_NUMBERS - NUMBERS, values.oh, seededRandom(2))]
  const { grammarOf, digits, checkOf } = await orderLine()
  const spoken = values.oh ? ['oh', ...digits.slice(1)] : digits
  const said = await saidBy(values.oh ? ENGLISH : [...ENGLISH, ...FOREIGN], numbers, known, spoken, random, coding)
  said.push(...(await partsOf(numbers, spoken, random, coding)))
  if (values.quick) said.splice(0, Infinity, ...said.filter(({ line }) => line === 'recorded'))
  if (values.numbers !== null) said.splice(values.numbers)
  const others = values.oh || values.quick ? [] : [...FOREIGN.map(materialFolder), ...values.voices]
  const read = await Promise.all(others.map((folder) => sentencesOf(folder, coding))).catch((error: unknown) => {
    throw new WrongOption(messageOf(error))
  })
  const sentences = shuffled(read.flat(), random)
  const pool = new SpeechPool()
  const { show, end } = benchProgress()
  try {
    await pool.ready()
    const speech = new SpeechClient({ port: pool.openSession() })
    const digitsIn = async (pcm: Int16Array, orders: readonly string[]): Promise<string> => {
      const isKnown = orders.length > 0
      const utterance = speech.startUtterance(grammarOf(orders), NOISE_WORDS, undefined, { check: checkOf(!isKnown) })
      for (const piece of piecesOf(pcm)) utterance.push(piece)
      const { text, fit = 1, wordMs = [] } = await utterance.end()
      const words = recognisedWords(text, digits)
      const fits = fit >= FIT_MIN && (isKnown || isNumberSaid(words, fit, wordMs, digits))
      return fits ? digitsOf(words, digits) : ''
    }
    const results: { readonly said: Said; readonly heard: string }[] = []
    for (const one of said) {
      show(`number ${results.length + 1} of ${said.length}`)
      results.push({ said: one, heard: await digitsIn(one.pcm, one.orders) })
    }
    const taken: Record<'any number' | 'eight known numbers', Taken[]> = { 'any number': [], 'eight known numbers': [] }
    for (const [i, sentence] of sentences.entries()) {
      show(`sentence ${i + 1} of ${sentences.length}`)
      taken['any number'].push({ sentence, heard: await digitsIn(sentence.pcm, []) })
      taken['eight known numbers'].push({ sentence, heard: await digitsIn(sentence.pcm, known.slice(0, KNOWN)) })
    }
    end()
    console.log(tables(results))
    if (sentences.length > 0)
      for (const [where, all] of Object.entries(taken)) console.log(sentenceTable(where, all, others.map(nameOf)))
  } finally {
    await pool.close()
  }
  return 0
})

function numbersOf(count: number, oh: boolean, random: () => number): string[] {
  return Array.from({ length: count }, (_, i) => {
    const number = Array.from({ length: 4 }, () => Math.floor(random() * 10))
    if (oh) {
      // The first digit is not 0, because as a first word "oh" is not a digit.
      number[0] ||= 1
      number[1 + (i % 3)] = 0
    }
    return number.join('')
  })
}

/**
 * Grammar of the shipped order line when it asks for an order number from a caller with these orders, and its words for
 * the digits.
 */
async function orderLine(): Promise<{
  readonly grammarOf: (orders: readonly string[]) => string
  readonly digits: readonly string[]
  readonly checkOf: (anyNumber: boolean) => DigitCheck
}> {
  const { agents } = await loadAgents(join(packageRoot(), 'agents'), { SHOP_API_URL: 'http://127.0.0.1:1' })
  const dialogue = agents.get('order-status')?.offline
  if (dialogue === undefined || dialogue === null) throw new Error('the order line has no offline dialogue')
  const understanding = new Understanding(dialogue)
  const grammarOf = (orders: readonly string[]): string =>
    understanding.grammar({
      intents: Object.keys(dialogue.intents),
      slots: ['order'],
      known: new Map(orders.length === 0 ? [] : [['order', orders]]),
      number: { slot: 'order', have: '', partMin: 2 },
    })
  return { grammarOf, digits: dialogue.digits, checkOf: (anyNumber) => understanding.digitCheck(anyNumber) }
}

/**
 * Numbers of each speaker on each line, in random order. Speakers of other languages only say numbers that are not
 * known.
 */
async function saidBy(
  speakers: readonly Speaker[],
  numbers: readonly string[],
  known: readonly string[],
  digits: readonly string[],
  random: () => number,
  coding: Coding,
): Promise<Said[]> {
  const said: Said[] = []
  for (const speaker of speakers) {
    const speak = await speakerOf(speaker, digits)
    for (const kind of FOREIGN.some((one) => one === speaker) ? (['free'] as const) : (['known', 'free'] as const)) {
      const own = kind === 'known' ? known : shuffled(numbers.slice(KNOWN), random).slice(0, KNOWN)
      for (const [i, number] of own.entries()) {
        const from = i - (i % KNOWN)
        const orders = kind === 'known' ? known.slice(from, from + KNOWN) : []
        const voice = await speak(number)
        for (const line of Object.keys(LINES) as Line[])
          said.push({ speaker, line, kind, number, orders, pcm: overLine(voice, line, said.length, coding) })
      }
    }
  }
  return shuffled(said, random)
}

/** The first half of each number, for questions in which any number may be said in parts. */
async function partsOf(
  numbers: readonly string[],
  digits: readonly string[],
  random: () => number,
  coding: Coding,
): Promise<Said[]> {
  const said: Said[] = []
  for (const speaker of ENGLISH) {
    const speak = await speakerOf(speaker, digits)
    for (const number of numbers.slice(0, KNOWN).map((whole) => whole.slice(0, 2))) {
      const voice = await speak(number)
      for (const line of Object.keys(LINES) as Line[])
        said.push({ speaker, line, kind: 'part', number, orders: [], pcm: overLine(voice, line, said.length, coding) })
    }
  }
  return shuffled(said, random)
}

const nameOf = (folder: string): string => basename(folder)

/** Sentences of one person, spread evenly over all of the person's sentences. */
async function sentencesOf(folder: string, coding: Coding): Promise<Sentence[]> {
  const all = (await recordedSentences(folder)).filter(({ name }) => !NO_SENTENCES.test(name))
  if (all.length === 0) throw new Error(`${folder} has no WAV file of 8 or 16 kHz with a sentence of 0.8 to 8 s`)
  const count = Math.min(SENTENCES, all.length)
  return Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)] as (typeof all)[number])
    .map(({ audio: { pcm, sampleRateHz } }) =>
      Int16Array.from(resampled(Float64Array.from(pcm), sampleRateHz, RATE_HZ)),
    )
    .flatMap((pcm, i) =>
      SENTENCE_LINES.map((line) => ({ speaker: nameOf(folder), line, pcm: overLine(pcm, line, i, coding) })),
    )
}

async function speakerOf(
  speaker: Speaker,
  digits: readonly string[],
): Promise<(number: string) => Promise<Int16Array>> {
  if (!isRecorded(speaker)) {
    const flite = await loadFlite()
    return (number) =>
      Promise.resolve(speakAs(flite, [...number].map((digit) => digits[Number(digit)]).join(' '), speaker, RATE_HZ))
  }
  return async (number) => {
    const parts: Int16Array[] = []
    for (const digit of number) {
      const recording = digit === '0' && digits[0] === 'oh' ? 'letters/o' : `digits/${digit}`
      parts.push(await readVoice(speaker, recording, RATE_HZ), silence(DIGIT_GAP_MS))
    }
    return joined(parts)
  }
}

const silence = (ms: number): Int16Array => new Int16Array((ms * RATE_HZ) / 1000)

function overLine(voice: Int16Array, line: Line, seed: number, coding: Coding): Int16Array {
  const [dbfs, snrDb] = LINES[line]
  const gain = 10 ** ((dbfs - levelDbfs(voice)) / 20)
  const sound = Float64Array.from([...silence(200), ...voice, ...silence(600)], (sample) => sample * gain)
  if (snrDb !== null) {
    const noise = atLevel(pinkNoise({ rateHz: RATE_HZ, ms: (sound.length * 1000) / RATE_HZ, seed }), dbfs - snrDb)
    for (let i = 0; i < sound.length; i++) sound[i] = (sound[i] as number) + (noise[i] ?? 0)
  }
  return throughLine(sound, RATE_HZ, true, coding)
}

function* piecesOf(pcm: Int16Array): Generator<Int16Array> {
  const samples = (PIECE_MS * RATE_HZ) / 1000
  for (let at = 0; at < pcm.length; at += samples) yield pcm.subarray(at, at + samples)
}

function shuffled<T>(values: readonly T[], random: () => number): T[] {
  return values
    .map((value) => ({ value, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ value }) => value)
}

function tables(results: readonly { readonly said: Said; readonly heard: string }[]): string {
  const cell = (pick: (said: Said) => boolean): string => {
    const of = results.filter(({ said }) => pick(said))
    const right = of.filter(({ said, heard }) => heard === said.number).length
    const wrong = of.filter(({ said, heard }) => heard !== said.number && heard.length === said.number.length).length
    return `${right} / ${wrong} / ${of.length}`.padStart(15)
  }
  const out: string[] = []
  const isEnglish = (said: Said): boolean => ENGLISH.some((one) => one === said.speaker)
  for (const kind of ['known', 'free', 'part'] as const) {
    const rows: readonly [string, (said: Said) => boolean][] = [
      ...ENGLISH.map((name): [string, (said: Said) => boolean] => [name, ({ speaker }) => speaker === name]),
      ['all', isEnglish],
      ...(kind === 'free'
        ? FOREIGN.filter((name) => results.some(({ said }) => said.speaker === name)).map(
            (name): [string, (said: Said) => boolean] => [name, ({ speaker }) => speaker === name],
          )
        : []),
    ]
    const lines = Object.keys(LINES) as Line[]
    out.push('', `${kind === 'part' ? 'parts of' : kind} numbers: right / another number heard / said`)
    out.push(`${'speaker'.padEnd(10)}${[...lines, 'all'].map((name) => name.padStart(15)).join('')}`)
    for (const [name, pick] of rows) {
      const cells = lines.map((line) => cell((said) => said.kind === kind && said.line === line && pick(said)))
      out.push(`${name.padEnd(10)}${cells.join('')}${cell((said) => said.kind === kind && pick(said))}`)
    }
  }
  return out.join('\n')
}

function sentenceTable(where: string, taken: readonly Taken[], speakers: readonly string[]): string {
  const out = ['', `sentences without a number, for ${where}: two digits or more heard / four digits / said`]
  const width = Math.max(...speakers.map(({ length }) => length)) + 2
  out.push(`${'speaker'.padEnd(width)}${SENTENCE_LINES.map((name) => name.padStart(15)).join('')}`)
  for (const name of speakers) {
    const cells = SENTENCE_LINES.map((line) => {
      const of = taken.filter(({ sentence }) => sentence.speaker === name && sentence.line === line)
      const withDigits = (isMany: (count: number) => boolean): number =>
        of.filter(({ heard }) => isMany(heard.length)).length
      return `${withDigits((count) => count >= 2)} / ${withDigits((count) => count === 4)} / ${of.length}`.padStart(15)
    })
    out.push(`${name.padEnd(width)}${cells.join('')}`)
  }
  return out.join('\n')
}
