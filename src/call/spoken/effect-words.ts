import { z } from 'zod'
import { spokenSchema as spoken } from './localized-text.js'

/** `afterEffect` of an agent's file. */
export const afterEffectSchema = z
  .strictObject({
    done: spoken
      .default({ en: 'What you asked for has been done.', sw: 'Ulichoomba kimefanyika.' })
      .describe('Spoken if the tool succeeded.'),
    failed: spoken
      .default({ en: 'What you asked for could not be done.', sw: 'Ulichoomba hakikuweza kufanyika.' })
      .describe('Spoken if the tool failed.'),
    uncertain: spoken
      .default({
        en: 'I could not find out whether what you asked for was done. Please ask us again later.',
        sw: 'Sikuweza kujua kama ulichoomba kimefanyika. Tafadhali tuulize tena baadaye.',
      })
      .describe('Spoken if the outcome is not known.'),
  })
  .describe(
    "Phrases about a tool with an effect (docs/AGENTS.md#tools). The gateway speaks a phrase if it ended or escalated the call after the tool, so that the agent cannot report the tool's result.",
  )

/** Way in which a tool call with an effect can end. */
export type EffectEnd = keyof z.output<typeof afterEffectSchema>
