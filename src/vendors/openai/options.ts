import { z } from 'zod'
import { LONGEST, maxOutputTokens, messageMs, model, temperature } from '../common-options.js'

/**
 * Built-in voices of OpenAI's live models (openai 7.55.0, `BuiltInVoice`). The service refuses `fable`, `nova` and
 * `onyx`.
 */
export const LIVE_VOICES = [
  'alloy',
  'ash',
  'ballad',
  'beacon',
  'bossa',
  'cedar',
  'cinder',
  'coral',
  'delta',
  'echo',
  'gleam',
  'marin',
  'meridian',
  'quartz',
  'ripple',
  'sage',
  'shida',
  'shimmer',
  'stone',
  'tempo',
  'verse',
  'vesper',
  'willow',
] as const

/**
 * A text for a live model's voice. The text cannot depend on the call, because the prompt is made once, with the
 * session.
 */
const liveWords = (chars: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(chars)
    .regex(/^(?![\s\S]*\{\{)/, { error: 'must have no {{…}}: what differs by call belongs into instructions' })
/** Cases in which the voice delegates, or does not delegate. */
const liveCases = z.array(liveWords(200)).min(1).max(12).exactOptional()

/** Options of the live service. */
export const liveOptions = z.strictObject({
  model,
  live: z
    .strictObject({
      prompt: liveWords(1500)
        .exactOptional()
        .describe(
          'Identity and manner of the voice, without procedures. The live model gets this text in place of `instructions`. Default: a text made from the name, the languages and the greeting.',
        ),
      backchannels: liveWords(400)
        .exactOptional()
        .describe(
          'Text under the heading Backchannel policy: short sounds of the voice while the caller speaks. Default: few.',
        ),
      interruptions: liveWords(400)
        .exactOptional()
        .describe('Text under the heading Interruption policy. Default: the voice stops as soon as the caller speaks.'),
      delegateWhen: liveCases.describe(
        'Text under the heading Delegation policy: cases for the delegate. Default: tools, facts, corrections, goodbyes.',
      ),
      answerYourselfWhen: liveCases.describe(
        'Text under the heading Delegation policy: cases for the voice alone. Default: small talk, earlier statements, and questions back.',
      ),
    })
    .exactOptional()
    .describe('Short prompt of the voice. The gateway adds the headings and the list of tools.'),
  audio: z
    .enum(['pcm16k', 'pcm24k', 'pcmu', 'pcma'])
    .exactOptional()
    .describe('Audio format in both directions. Default: the format of the leg, so that nothing is resampled.'),
  delegate: z
    .discriminatedUnion(
      'by',
      [
        z.strictObject({
          by: z
            .literal('responses')
            .describe(
              'Where the delegate runs: at the service (responses), or in the gateway with the model of LLM_URL (client).',
            ),
          model,
          reasoningEffort: z
            .enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh'])
            .exactOptional()
            .describe('Effort of thinking. Default: the default of the service.'),
          maxOutputTokens: z.int().min(16).max(65_536).exactOptional().describe(LONGEST),
        }),
        z.strictObject({
          by: z.literal('client'),
          model,
          temperature,
          maxTokens: maxOutputTokens,
        }),
      ],
      { error: 'must have by: responses or by: client' },
    )
    .exactOptional()
    .describe(
      'Model that uses the tools. responses: a model that the service runs beside the live model. client: the language model of LLM_URL. Default: OPENAI_LIVE_DELEGATE.',
    ),
  delegateTimeoutMs: z
    .int()
    .min(1000)
    .max(120_000)
    .exactOptional()
    .describe(
      'Maximum time, in ms, without output of a delegate. Then the gateway cancels the delegate. Default: 20000.',
    ),
  acknowledgementMs: z
    .int()
    .min(0)
    .max(10_000)
    .exactOptional()
    .describe('Delay in ms before the live model itself says that it looks something up. Default: 0.'),
  messageMs,
})

export type OpenAiLiveOptions = z.output<typeof liveOptions>
