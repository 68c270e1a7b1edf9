import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parseWav } from '../../src/media/wav.js'
import { seededRandom } from '../../src/carrier/random.js'

/** Sampled instruments (General MIDI) from a Debian package. */
const SOUNDFONT = '/usr/share/sounds/sf2/TimGM6mb.sf2'
const PACKAGES = 'fluidsynth timgm6mb-soundfont'

/** Packages for `apt-get install` that are needed to play pieces on sampled instruments; null if they are installed. */
export function missingInstruments(): string | null {
  const player = (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, 'fluidsynth')))
  return player && existsSync(SOUNDFONT) ? null : PACKAGES
}

/** Instruments by family, with their General MIDI numbers. Voices (52 to 54) and noises (120 to 127) are left out. */
const FAMILIES = {
  struck: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 46, 108, 112, 114],
  plucked: [24, 25, 26, 27, 28, 30, 45, 104, 105, 106, 107],
  held: [16, 17, 18, 19, 20, 21, 22, 23, 48, 49, 50, 51, 55, 61, 62, 63, 88, 89, 90, 91, 92, 93, 94, 95, 99, 103],
  lead: [
    29, 40, 41, 42, 43, 44, 56, 57, 58, 59, 60, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81,
    82, 83, 84, 85, 86, 87, 109, 110, 111,
  ],
  bass: [32, 33, 34, 35, 36, 37, 38, 39],
} as const
type Family = keyof typeof FAMILIES

const KITS = [0, 8, 16, 24, 25, 32, 40]
const SCALES = [
  [0, 2, 4, 5, 7, 9, 11],
  [0, 2, 3, 5, 7, 8, 10],
  [0, 2, 3, 5, 7, 9, 10],
  [0, 2, 4, 7, 9],
]
const PROGRESSIONS = [
  [0, 4, 5, 3],
  [0, 5, 3, 4],
  [0, 3, 4, 3],
  [1, 4, 0, 5],
  [0, 0, 3, 4],
  [0, 6, 5, 4],
]
const TICKS = 480
const DRUMS = 9

interface Piece {
  readonly seed: number
  readonly ms: number
  /** Split of the piece. One instrument in four is only used in pieces of `validation`. */
  readonly split: 'training' | 'validation'
}

/**
 * Pieces of music on sampled instruments, 16 kHz, mono. The seed determines tempo, key, instruments, drums and tune.
 * With the same versions of the two packages, the bytes are always the same.
 */
export async function renderedMusic(piece: Piece): Promise<Float64Array> {
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-music-'))
  try {
    const score = join(folder, 'piece.mid')
    const sound = join(folder, 'piece.wav')
    await writeFile(score, midiOf(piece))
    // prettier-ignore
    await promisify(execFile)('fluidsynth', ['-ni', '-q', '-F', sound, '-T', 'wav', '-O', 's16', '-r', '16000', '-g', '0.4', SOUNDFONT, score])
    const { samples, channels } = parseWav(await readFile(sound))
    const length = Math.min(Math.floor(samples.length / channels), 16 * piece.ms)
    return Float64Array.from({ length }, (_, i) => {
      let sum = 0
      for (let channel = 0; channel < channels; channel++) sum += samples[i * channels + channel] as number
      return sum / channels
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

interface Event {
  readonly tick: number
  readonly bytes: readonly number[]
}

function midiOf({ seed, ms, split }: Piece): Uint8Array {
  const random = seededRandom(seed)
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T
  const instrument = (family: Family): number =>
    pick(FAMILIES[family].filter((_, i) => (i % 4 === 3) === (split === 'validation')))
  const events: Event[] = []
  const bpm = 60 + 90 * random() ** 1.3
  const beats = Math.ceil((ms / 60_000) * bpm)
  const scale = pick(SCALES)
  const key = 48 + Math.floor(random() * 12)
  const progression = pick(PROGRESSIONS)
  const swing = random() < 0.25 ? TICKS / 6 : 0
  const loose = random() < 0.5 ? 12 : 0
  const degree = (d: number): number =>
    key + 12 * Math.floor(d / scale.length) + (scale[((d % scale.length) + scale.length) % scale.length] as number)
  const play = (channel: number, note: number, tick: number, length: number, velocity: number): void => {
    const at = Math.max(0, Math.round(tick + loose * (random() - 0.5)))
    const loud = Math.max(1, Math.min(127, Math.round(velocity + 12 * (random() - 0.5))))
    events.push({ tick: at, bytes: [0x90 | channel, note & 127, loud] })
    events.push({ tick: at + Math.max(20, Math.round(length)), bytes: [0x80 | channel, note & 127, 0] })
  }
  const take = (channel: number, program: number, volume: number): void => {
    events.push({ tick: 0, bytes: [0xc0 | channel, program] })
    events.push({ tick: 0, bytes: [0xb0 | channel, 7, Math.round(volume)] })
    events.push({ tick: 0, bytes: [0xb0 | channel, 91, Math.round(90 * random())] })
  }

  // Kind of players: one player, an ensemble without a beat, or a band.
  const kind = random()
  const alone = kind < 0.2
  const band = kind > 0.5
  const has = { bass: !alone && random() < 0.8, chords: !alone || random() < 0.5, lead: alone || random() < 0.75 }
  const chordFamily: Family = pick(['struck', 'plucked', 'held'])
  const leadFamily: Family = pick(['struck', 'plucked', 'lead', 'lead', 'lead'])
  take(0, instrument(chordFamily), 60 + 40 * random())
  take(1, instrument('bass'), 70 + 50 * random())
  take(2, instrument(leadFamily), 70 + 50 * random())
  take(3, instrument('held'), 40 + 40 * random())
  take(DRUMS, pick(KITS), 50 + 70 * random())
  const arpeggio = random() < 0.4
  const drumPattern = {
    hats: pick([1, 2, 2, 4]),
    kick: pick([
      [0, 2],
      [0, 1, 2, 3],
      [0, 2.5],
      [0, 1.5, 2],
    ]),
  }
  const density = 0.3 + 0.6 * random()
  const vibrato = random() < 0.5
  if (vibrato) events.push({ tick: 0, bytes: [0xb2, 1, Math.round(30 + 60 * random())] })

  let tune = 7 + Math.floor(random() * 7)
  for (let beat = 0; beat < beats; beat++) {
    const bar = Math.floor(beat / 4)
    const inBar = beat % 4
    const root = progression[bar % progression.length] as number
    const at = beat * TICKS
    if (has.chords) {
      const chord = [root, root + 2, root + 4, ...(random() < 0.3 ? [root + 6] : [])]
      if (arpeggio) chord.slice(0, 4).forEach((d, i) => play(0, degree(d + 7), at + (i * TICKS) / 4, TICKS * 0.6, 70))
      else if (inBar === 0 || (band && random() < 0.5))
        for (const d of chord) play(0, degree(d + 7), at, inBar === 0 ? TICKS * 3.8 : TICKS * 0.8, 70)
    }
    if (!alone && !band && inBar === 0)
      for (const d of [root, root + 4, root + 9]) play(3, degree(d + 7), at, TICKS * 4.1, 60)
    if (has.bass && (inBar % 2 === 0 || random() < 0.5)) {
      const note = degree(root - 7) + (random() < 0.2 ? 7 : 0)
      play(1, note < 28 ? note + 12 : note, at, TICKS * (0.4 + 0.9 * random()), 85)
    }
    if (has.lead) {
      for (let part = 0; part < 2; part++) {
        if (random() > density) continue
        tune += pick([-2, -1, -1, 0, 1, 1, 2, 3, -3])
        if (tune < 5 || tune > 20) tune = 10
        const length = pick([0.45, 0.45, 0.9, 1.8, 3.5])
        play(2, degree(tune), at + (part * TICKS) / 2 + (part === 1 ? swing : 0), TICKS * length, 90)
      }
    }
    if (band) {
      for (const kick of drumPattern.kick)
        if (Math.floor(kick) === inBar) play(DRUMS, 36, at + (kick % 1) * TICKS, 60, 100)
      if (inBar % 2 === 1) play(DRUMS, 38, at, 60, 95)
      for (let i = 0; i < drumPattern.hats; i++)
        play(DRUMS, random() < 0.1 ? 46 : 42, at + (i * TICKS) / drumPattern.hats + (i === 1 ? swing : 0), 40, 65)
      if (inBar === 0 && bar % 8 === 0) play(DRUMS, 49, at, 100, 80)
    }
  }
  const track: number[] = []
  const tempo = Math.round(60_000_000 / bpm)
  track.push(0, 0xff, 0x51, 3, (tempo >> 16) & 255, (tempo >> 8) & 255, tempo & 255)
  let last = 0
  for (const { tick, bytes } of events.toSorted((a, b) => a.tick - b.tick)) {
    track.push(...variableLength(tick - last), ...bytes)
    last = tick
  }
  track.push(0, 0xff, 0x2f, 0)
  const long = (value: number): number[] => [value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255]
  const text = (name: string): number[] => [...Buffer.from(name, 'latin1')]
  return Uint8Array.from([
    ...text('MThd'),
    ...long(6),
    0,
    0,
    0,
    1,
    TICKS >> 8,
    TICKS & 255,
    ...text('MTrk'),
    ...long(track.length),
    ...track,
  ])
}

function variableLength(value: number): number[] {
  const bytes = [value & 127]
  for (let rest = value >> 7; rest > 0; rest >>= 7) bytes.unshift(0x80 | (rest & 127))
  return bytes
}
