import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageRoot } from '../src/config/package-root.js'
import type { LegRateHz } from '../src/core/units.js'
import { type Coding, LEVELS, type Level, type Opening, isProduction } from './protocol.js'

/** Program that accepts calls: the gateway or a peer. */
export interface Subject {
  readonly name: string
  readonly about: string
  readonly levels: readonly Level[]
  readonly opening: Opening
  readonly legRateHz: LegRateHz
  /** Format of the audio to the model. */
  readonly coding: Coding
  /**
   * Minimum SNR in dB of the tone over the whole path: 60 for linear samples, or a lower value for a subject with
   * mu-law.
   */
  readonly snrDbMin: number
  /**
   * Maximum number of calls of the subject on a machine with two cores. More calls would only show that they are too
   * many.
   */
  callsMax(level: Level): number
  /**
   * True if the subject is part of a quick run. Other subjects run in a quick run only if they are requested by name.
   */
  readonly quick: boolean
  /** Packages that must be installed. */
  readonly needs: readonly string[]
  file(level: Level): string
  /** Number of frames in one message to the backend; null if the length follows the call. */
  messageFrames(level: Level): number | null
}

const gateway: Subject = {
  name: 'mkondo',
  about: 'this gateway',
  levels: LEVELS,
  opening: 'webhook',
  legRateHz: 16_000,
  coding: 'pcm',
  snrDbMin: 60,
  callsMax: () => Infinity,
  quick: true,
  needs: [],
  file: (level) =>
    fileURLToPath(new URL(level === 'L0' ? './servers/ring-echo.js' : './servers/gateway.js', import.meta.url)),
  messageFrames: (level) => (isProduction(level) ? null : level === 'L2' || level === 'L3' ? 3 : 1),
}

/** The gateway on a line with telephone bandwidth. */
const narrowGateway = (coding: Coding, words: string): Subject => ({
  ...gateway,
  name: `mkondo-8k-${coding}`,
  about: `the same on a leg of 8 kHz, with ${words} to the model`,
  levels: ['L2-prod'],
  legRateHz: 8000,
  coding,
  quick: false,
})

type PeerFacts = Pick<Subject, 'name' | 'about' | 'levels' | 'needs'> & Partial<Subject>

/** Server of other authors. Without other settings, it is an echo on a plain WebSocket with 16 kHz PCM. */
const peer = (file: string, facts: PeerFacts): Subject => ({
  opening: 'socket',
  legRateHz: 16_000,
  coding: 'pcm',
  snrDbMin: 60,
  callsMax: () => Infinity,
  quick: true,
  file: () => join(packageRoot(), 'bench/peers', file),
  messageFrames: () => 1,
  ...facts,
})

/** Peers whose audio is mu-law in the JSON of Twilio. */
const TWILIO = { opening: 'twilio', legRateHz: 8000, coding: 'pcmu', snrDbMin: 33 } as const

/** True if the subject is the gateway, with any leg. */
export function isGateway(subject: Subject): boolean {
  return subject.opening === 'webhook'
}

export const SUBJECTS: readonly Subject[] = [
  gateway,
  narrowGateway('pcm', '24 kHz PCM'),
  narrowGateway('pcmu', 'mu-law'),
  narrowGateway('pcma', 'A-law'),
  peer('uws-echo.mjs', {
    name: 'uws-echo',
    about: 'uWebSockets.js alone, the ceiling',
    levels: ['L0'],
    needs: ['uWebSockets.js'],
  }),
  peer('uws-paced.mjs', {
    name: 'uws-paced',
    about: 'the same with a clock: frames go back at the next tick',
    levels: ['L0'],
    needs: ['uWebSockets.js'],
    quick: false,
  }),
  peer('ws-sketch.mjs', {
    name: 'ws-sketch',
    about: "the sketch of the carrier's articles, on ws",
    levels: ['L0'],
    needs: ['ws'],
  }),
  peer('fastify-websocket.mjs', {
    name: 'fastify',
    about: '@fastify/websocket',
    levels: ['L0'],
    needs: ['fastify', '@fastify/websocket'],
  }),
  peer('naive-bridge.mjs', {
    name: 'naive-bridge',
    about: 'ws and a libsamplerate instance per stream',
    levels: ['L2'],
    needs: ['ws', '@alexanderolsen/libsamplerate-js'],
    callsMax: () => 25,
  }),
  peer('openai-twilio.mjs', {
    name: 'openai-twilio',
    about: 'OpenAI agents SDK, Twilio transport: mu-law, no resampling',
    levels: ['L2', 'L2-prod', 'L2-prod-repeat'],
    needs: ['@openai/agents', '@openai/agents-extensions', 'ws', 'zod'],
    ...TWILIO,
    // With TLS, each call needs a hundredth of the peer's only thread.
    callsMax: (level) => (isProduction(level) ? 50 : Infinity),
  }),
  peer('ws-relay.mjs', {
    name: 'ws-relay',
    about: 'ws on both sides, messages passed on as they are: the least that Node keeps for a call',
    levels: ['L2-prod', 'L2-prod-repeat'],
    needs: ['ws'],
    ...TWILIO,
    callsMax: () => 50,
    quick: false,
  }),
]

/** Package that is missing for `subject`; null if all packages are installed. */
export function missingPackage(subject: Subject): string | null {
  const folders = ['bench/peers/node_modules', 'node_modules'].map((folder) => join(packageRoot(), folder))
  return subject.needs.find((name) => !folders.some((folder) => existsSync(join(folder, name, 'package.json')))) ?? null
}
