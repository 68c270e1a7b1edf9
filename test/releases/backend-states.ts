import { z } from 'zod'
import { servingIn, usedIn } from '../../src/backends/call-snapshot.js'
import type { CallBackendSnapshot } from '../../src/backends/call-snapshot.js'
import { parseSnapshot } from '../../src/backends/embedded/embedded-backend.js'
import type { EmbeddedSnapshot } from '../../src/backends/embedded/embedded-backend.js'
import { resumedGeneration } from '../../src/backends/resumed-generation.js'
import { snapshotOf } from '../../src/vendors/gemini/live/backend.js'
import type { GeminiSnapshot } from '../../src/vendors/gemini/live/backend.js'
import { usageSchemaOf } from '../../src/call/backend-events.js'

const count = z.int().min(0)

/** State of a call's backends, in its kept call. */
export const backendState = {
  schema: z.object({
    version: z.literal(2),
    used: z
      .object({
        models: z.array(
          z.object({
            backend: z.string(),
            model: z.string().nullable(),
            usage: usageSchemaOf(z.number()),
          }),
        ),
        usedMs: z.number(),
        cost: z.object({ currency: z.string(), known: z.number() }),
        recorded: z.object({ inputTokens: count, outputTokens: count, known: z.number() }),
      })
      .nullable(),
    serving: z.object({ member: z.string(), serial: count, generation: count, state: z.unknown() }).nullable(),
  }) satisfies z.ZodType<CallBackendSnapshot>,
  read: (document: unknown) => ({ used: usedIn(document), serving: servingIn(document) }),
}

/** State of a backend of a service that resumes nothing. */
export const sessionState = {
  schema: z.object({ version: z.literal(1), generation: count.min(1) }),
  read: resumedGeneration,
}

const place = z.object({ state: z.string(), step: count })
const waiting = z.discriminatedUnion('for', [
  z.object({ for: z.literal('start') }),
  z.object({ for: z.literal('caller') }),
  z.object({ for: z.literal('result'), callId: z.string() }),
  z.object({ for: z.literal('saved'), name: z.string() }),
  z.object({ for: z.literal('stage'), callId: z.string() }),
  z.object({ for: z.literal('nothing') }),
])
const strings = z.array(z.string())

/** State of the embedded backend: its dialogue. */
export const dialogueState = {
  schema: z.object({
    version: z.literal(1),
    dialogue: z.object({
      version: z.literal(1),
      place,
      waiting,
      origin: z.object({ place, prompt: strings, waiting: waiting.exactOptional() }).nullable(),
      prompt: strings,
      misses: count,
      keys: z.string(),
      number: z
        .object({
          typed: z.string(),
          last: count,
          spoken: z.boolean(),
          sure: z.boolean(),
          parts: count,
          asked: z.boolean(),
        })
        .exactOptional(),
      values: z.record(z.string(), z.unknown()),
      slots: z.record(z.string(), z.string()),
      heardBy: z.enum(['speech', 'keys', 'text']).nullable(),
      heardText: z.string().exactOptional(),
      heardSure: z.boolean().exactOptional(),
      unfinished: z.string().exactOptional(),
      visits: z.record(z.string(), count),
      stage: z.string().exactOptional(),
      widened: strings,
      pending: z.array(
        z.object({
          callId: z.string(),
          name: z.string(),
          args: z.record(z.string(), z.unknown()),
          save: z.string().nullable(),
          again: z.boolean(),
        }),
      ),
      calls: count,
    }),
    generation: count,
    unspoken: strings,
  }) satisfies z.ZodType<EmbeddedSnapshot>,
  read: parsed(parseSnapshot),
}

/** State of Gemini Live. */
export const geminiState = {
  schema: z.object({
    version: z.literal(1),
    generation: count,
    handle: z.string().nullable(),
    consumed: count.nullable().exactOptional(),
  }) satisfies z.ZodType<GeminiSnapshot>,
  read: parsed(snapshotOf),
}

/** A state that its backend cannot read is no state: the call goes on from its history. */
function parsed(read: (document: unknown) => object | null): (document: unknown) => unknown {
  return (document) => {
    const state = read(document)
    if (state === null) throw new TypeError('this state is not read')
    return state
  }
}

/** The form of each backend's own state, `serving.state` of `backend-state`. */
export const STATE_OF: Readonly<Record<string, string>> = {
  ...{
    openai: 'session-state',
    'openai-live': 'session-state',
    'azure-voice-live': 'session-state',
    xai: 'session-state',
  },
  ...{ 'self-hosted': 'session-state', cascade: 'session-state', gemini: 'gemini-state', embedded: 'dialogue-state' },
}
