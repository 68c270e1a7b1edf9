import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageRoot } from '../src/config/package-root.js'
import type { LegRateHz } from '../src/core/units.js'
import { type Coding, LEVELS, type Level, type Opening, isProduction } from './protocol.js'

/** Something that takes calls: the gateway, or a peer. */
export interface Subject {
  readonly name: string
  readonly about: string
  readonly levels: readonly Level[]
  readonly opening: Opening
  readonly legRateHz: LegRateHz
  /** Coding of its audio to the model. */
  readonly coding: Coding
  /**
   * Least SNR of the tone through the whole path: 60 for linear samples, what mu-law allows for the one that uses it.
   */
  readonly snrDbMin: number
  /** More calls than this it cannot carry on any machine with two cores, and asking for them would only show that. */
  callsMax(level: Level): number
  /** Part of a quick run; else one has no time for it, unless it is asked for by name. */
  readonly quick: boolean
  /** Packages that must be installed. */
  readonly needs: readonly string[]
  file(level: Level): string
  /** Frames that go to the backend in one message; null where the length follows the call. */
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

/** The gateway on a line that has no more than a telephone's band. */
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

/** Somebody else's server: the echo of a bare WebSocket in 16 kHz PCM, unless it says otherwise. */
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

/** Its audio is mu-law in Twilio's JSON. */
const TWILIO = { opening: 'twilio', legRateHz: 8000, coding: 'pcmu', snrDbMin: 33 } as const

/** True if a subject is the gateway, whatever its leg. */
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
    // With TLS a call takes a hundredth of its one thread.
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

/** The package that keeps `subject` from running; null when all are there. */
export function missingPackage(subject: Subject): string | null {
  const folders = ['bench/peers/node_modules', 'node_modules'].map((folder) => join(packageRoot(), folder))
  return subject.needs.find((name) => !folders.some((folder) => existsSync(join(folder, name, 'package.json')))) ?? null
}
