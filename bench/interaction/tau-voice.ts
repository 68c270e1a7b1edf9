import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { WrongOption } from '../kit/command.js'
import { type InteractionEvent, type Panel, type Tick, type TickEffect, eventsOf } from './panel.js'

/** Maximum number of conversations that are read from one folder. */
const FILES_MAX = 2000
const EXPECTED = 'expected_metrics.json'

const effectsSchema = z.object({ speech_insert: z.object({ type: z.string(), text: z.string() }).nullish() }).nullish()
const tickSchema = z.object({
  user_chunk: z
    .object({
      contains_speech: z.boolean().nullish(),
      turn_taking_action: z.object({ action: z.string().nullish() }).nullish(),
      speech_effects: effectsSchema,
      source_effects: effectsSchema,
    })
    .nullish(),
  agent_chunk: z.object({ contains_speech: z.boolean().nullish() }).nullish(),
})
const conversationSchema = z.object({ ticks: z.array(tickSchema) })
const expectedSchema = z.object({
  response_latency_mean: z.number(),
  yield_latency_mean: z.number(),
  response_rate: z.number(),
  yield_rate: z.number(),
  agent_interruption_rate: z.number(),
  selectivity_backchannel: z.number(),
  selectivity_vocal_tic: z.number(),
  selectivity_non_directed: z.number(),
  counts: z.object({
    n_simulations: z.number(),
    response_total: z.number(),
    yield_total: z.number(),
    backchannel_total: z.number(),
    vocal_tic_total: z.number(),
    non_directed_total: z.number(),
    agent_interrupts_count: z.number(),
  }),
})

type PublishedTick = z.infer<typeof tickSchema>

/**
 * Conversations that τ-voice has published: JSON files with `ticks`. Other files are skipped.
 * @throws WrongOption if the folder contains no such file, or a file cannot be read
 */
export async function publishedConversations(folder: string): Promise<readonly (readonly InteractionEvent[])[]> {
  const files = await readdir(folder).catch(() => {
    throw new WrongOption(`--ticks is '${folder}', which cannot be read; allowed is a folder of τ-voice's JSON files`)
  })
  const found: (readonly InteractionEvent[])[] = []
  for (const name of files
    .filter((file) => file.endsWith('.json'))
    .toSorted()
    .slice(0, FILES_MAX)) {
    const { data } = conversationSchema.safeParse(await jsonOf(join(folder, name)))
    if (data !== undefined) found.push(eventsOf(data.ticks.map(tickOf)))
  }
  if (found.length === 0) throw new WrongOption(`--ticks is '${folder}', which has no JSON file with ticks`)
  return found
}

/**
 * Differences between our figures and τ-voice's own figures for the same folder; null if the folder does not contain
 * τ-voice's figures.
 */
export async function differencesFromExpected(folder: string, panel: Panel): Promise<readonly string[] | null> {
  const { data } = expectedSchema.safeParse(await jsonOf(join(folder, EXPECTED)))
  if (data === undefined) return null
  const { counts } = data
  const pairs: readonly (readonly [string, number | null, number])[] = [
    ['response latency', panel.responseLatencyS, data.response_latency_mean],
    ['yield latency', panel.yieldLatencyS, data.yield_latency_mean],
    ['response rate', panel.responseRate, data.response_rate],
    ['yield rate', panel.yieldRate, data.yield_rate],
    ['agent interruptions', panel.agentInterrupts, data.agent_interruption_rate],
    ['backchannels', panel.backchannels, data.selectivity_backchannel],
    ['tics', panel.tics, data.selectivity_vocal_tic],
    ['speech to others', panel.others, data.selectivity_non_directed],
    ['conversations', panel.counts.conversations, counts.n_simulations],
    ['turns', panel.counts.responses, counts.response_total],
    ['interruptions', panel.counts.yields, counts.yield_total],
    ['number of backchannels', panel.counts.backchannels, counts.backchannel_total],
    ['number of tics', panel.counts.tics, counts.vocal_tic_total],
    ['speeches to others', panel.counts.others, counts.non_directed_total],
    ['agent interrupts', panel.counts.agentInterrupts, counts.agent_interrupts_count],
  ]
  return pairs
    .filter(([, ours, theirs]) => ours === null || Math.abs(ours - theirs) > 1e-9)
    .map(([name, ours, theirs]) => `${name}: ${ours ?? 'none'}, expected ${theirs}`)
}

/** @returns undefined if the file cannot be read or is not JSON */
async function jsonOf(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as unknown
  } catch {
    return undefined
  }
}

function tickOf({ user_chunk: caller, agent_chunk: agent }: PublishedTick): Tick {
  return {
    caller: caller?.contains_speech === true,
    agent: agent?.contains_speech === true,
    backchannel: caller?.turn_taking_action?.action === 'backchannel',
    effects: [caller?.source_effects, caller?.speech_effects].flatMap((effects): readonly TickEffect[] => {
      const insert = effects?.speech_insert
      return insert == null ? [] : [{ kind: insert.type === 'vocal_tic' ? 'tic' : 'others', text: insert.text }]
    }),
  }
}
