import { z } from 'zod'
import { ROW_RESULTS, campaignSchema } from '../../campaigns/campaign.js'
import type { CampaignMade, CampaignView } from '../../campaigns/campaign.js'
import type { ChartsView } from '../../call/documents/call-charts.js'
import { timelineSchema } from '../../call/documents/call-view.js'
import type {
  CallEvent,
  CallsEvent,
  FleetRow,
  FoundView,
  ListedCall,
  LiveCallView,
} from '../../call/documents/call-view.js'
import type { DocumentOf } from '../../call/documents/document.js'
import { handoffSchema } from '../../call/documents/handoff.js'
import {
  CALL_OUTCOMES,
  CALL_SERVED,
  callRecordSchema,
  measuredMs,
  toolCall,
  transcriptEntry,
} from '../../call/documents/record.js'
import { CAUSE_CODES } from '../../call/why/call-cause.js'
import type { WhyView } from '../../call/why/why.js'
import { fleetStatusSchema } from '../../fleet/fleet-status.js'
import { messageViewSchema } from '../../messages/outbox.js'
import type { ErasedCounts } from '../../telemetry/archive/erasure.js'
import { SESSION_RIGHTS } from './ops-session.js'
import type { Session } from './ops-session.js'

/**
 * Schemas of all answers of the ops port, for `schema/ops-api.openapi.yaml` and for types. Import this file as a type:
 * a running gateway does not check its answers. Types that are defined in other files are compared with their schema
 * here by `satisfies`.
 */

const count = z.int()
const wholeMs = z.int()
const names = z.array(z.string())

// --- calls --------------------------------------------------------------------------------------------------------

const record = callRecordSchema.shape
const transcript = z.array(transcriptEntry(measuredMs))
const toolCalls = z.array(toolCall(measuredMs))

const listed = {
  callSid: z.string(),
  agent: z.string(),
  backend: z.string(),
  state: z.enum(['waiting', 'streaming', 'cut', 'after', 'ended']),
  direction: record.direction,
  from: record.from,
  to: record.to,
  number: record.number,
  startedAt: z.string(),
  durationMs: measuredMs,
}
const lastResponseMs = measuredMs
  .nullable()
  .describe(
    "Time from the caller's last word to the agent's first sound, in the newest turn that has both; null if there is no such turn yet.",
  )

const listedCall = z.object({
  ...listed,
  lastResponseMs: lastResponseMs.exactOptional(),
  outcome: z.string().exactOptional().describe('Only of ended calls.'),
  endReason: z.string().exactOptional().describe('Only of ended calls. For a refused call, the reason of the refusal.'),
  served: z
    .string()
    .exactOptional()
    .describe('Result of an ended call for its caller; absent in records of earlier builds.'),
  summary: z.string().nullable().exactOptional().describe('Only of ended calls whose agent has `analysis`.'),
  fields: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]))
    .exactOptional()
    .describe('Fields of the analysis by name; only of ended calls whose agent has `analysis`.'),
  turns: count.exactOptional(),
  recording: z.boolean().exactOptional(),
  cost: z
    .object({ amount: z.number(), currency: z.string() })
    .nullable()
    .exactOptional()
    .describe('Known part of the cost; only in results of a search.'),
}) satisfies z.ZodType<ListedCall>

const fleetRow = listedCall.extend({
  node: z.string().nullable().describe('Node of the call; null without a fleet.'),
}) satisfies z.ZodType<FleetRow>

const liveCall = z.object({
  ...listed,
  ...{ lastResponseMs, transcript, toolCalls, rehomes: record.rehomes },
}) satisfies z.ZodType<LiveCallView>

const nodeName = z.string().nullable().describe('Null without a fleet.')
const askedNodes = z
  .array(
    z.object({
      name: nodeName,
      answered: z.boolean(),
      current: z.boolean().describe('False: the node still indexes its records, so more calls may match.'),
    }),
  )
  .describe('Nodes with stored calls, and if each answered for this page and all earlier pages.')

const silentNodes = names.describe('Nodes that did not answer.')
const unlookedStores = names.describe('Stores that could not be read.')

const whyLine = z.object({ atMs: wholeMs, text: z.string() })
const usualValues = z.object({ values: count, p50Ms: wholeMs, p95Ms: wholeMs })
const why = z.object({
  version: z.literal(1),
  callSid: z.string(),
  agent: z.string(),
  startedAt: z.string(),
  outcome: record.outcome,
  served: z.enum(CALL_SERVED).nullable(),
  endReason: record.endReason,
  cause: z.object({
    code: z.enum(CAUSE_CODES).describe('good: the caller was served, and nothing was slow.'),
    text: z.string(),
    about: z
      .array(z.object({ kind: z.enum(['setting', 'agent', 'runbook', 'page']), name: z.string() }))
      .describe("Settings, options of the agent's file, runbooks and pages about the cause."),
  }),
  turns: z
    .array(
      z.object({
        turn: count.describe('Number of the turn, from 1.'),
        stoppedAtMs: wholeMs.describe("Time of the caller's last voiced sample."),
        untilMs: wholeMs.describe('End of the wait.'),
        isAnswered: z.boolean(),
        firstSoundMs: wholeMs.nullable(),
        endOfTurnMs: wholeMs.nullable().describe('Time until the end of the turn was detected.'),
        wordsMs: wholeMs.nullable().describe("Time until the recogniser's last words."),
        modelWordsMs: wholeMs.nullable().describe("Time until the backend's first words of an answer."),
        tools: z.array(z.object({ name: z.string(), fromMs: wholeMs, ms: wholeMs, ok: z.boolean() })),
        parts: z
          .object({ endOfTurnMs: wholeMs, toolsMs: wholeMs, backendMs: wholeMs, playoutMs: wholeMs })
          .describe('Parts of the wait. Their sum is the whole wait.'),
        text: z.string(),
      }),
    )
    .describe('The 20 longest waits of the caller.'),
  turnsLeftOut: count,
  unusual: z
    .array(z.object({ name: z.string(), ms: wholeMs, p50Ms: wholeMs, p95Ms: wholeMs, text: z.string() }))
    .describe('Values outside the usual range of the agent.'),
  remarks: z
    .array(whyLine)
    .describe('Unusual events that are not compared with other calls, such as another voice on the line.'),
  decisions: z.array(whyLine.extend({ rule: z.string().describe('Name of the timeline mark.') })),
  unheard: z.array(whyLine).describe('Speech of the agent that the caller did not hear, wholly or in part.'),
  usual: z
    .object({ calls: count, of: z.record(z.string(), usualValues) })
    .nullable()
    .describe(
      'Usual values of up to 1,000 earlier calls of the agent. Null if the gateway keeps no index of calls, or if the token is limited to some numbers.',
    ),
}) satisfies z.ZodType<WhyView>

const chartPoint = z.object({
  calls: count,
  outcomes: z
    .partialRecord(z.enum(CALL_OUTCOMES), count)
    .describe('Calls by outcome; an outcome without calls is absent.'),
  served: z
    .partialRecord(z.enum(CALL_SERVED), count)
    .describe(
      'Calls by the result for the caller; a result without calls is absent, and so are calls of earlier builds.',
    ),
  contained: count.describe('Contained calls whose caller got an answer or a result.'),
  answers: count.describe('Number of answered turns.'),
  answerP50Ms: wholeMs
    .nullable()
    .describe(
      "Time from the caller's last voiced sample to the first agent sound that is not a filler, with an error of at most 4.5 %. Null without an answer.",
    ),
  answerP95Ms: wholeMs.nullable(),
  cost: z.record(z.string(), z.number()).describe('Known cost by currency.'),
})
const chartSeries = z.object({
  name: z
    .string()
    .nullable()
    .describe('Agent or version. Null for the series of all calls, and for the series of all others.'),
  whole: chartPoint,
  buckets: z.array(chartPoint),
})
const charts = z.object({
  from: z.iso.datetime().describe('Begin of the first bucket.'),
  bucketHours: z.int(),
  all: chartSeries,
  groups: z
    .array(chartSeries)
    .describe(
      'Up to 12 agents or versions, those with the most calls first. If there are more, the last series has no name and is the sum of the others.',
    ),
  nodes: askedNodes,
}) satisfies z.ZodType<ChartsView>

const callsEvent = z.object({
  whole: z
    .literal(true)
    .exactOptional()
    .describe('Present if `rows` has all live calls. Calls that are not in `rows` have ended.'),
  rows: z.array(fleetRow),
  gone: names.describe('SIDs of calls that have ended.'),
  node: z
    .object({
      name: nodeName,
      free: count,
      capacity: count,
      draining: z.boolean(),
      notReady: z.string().nullable().describe('Reason why the node accepts no new call; null if it accepts calls.'),
    })
    .describe('Node that sends this event.'),
  silent: silentNodes,
}) satisfies z.ZodType<CallsEvent>

const events = timelineSchema.shape
const callEvent = z
  .object({
    head: liveCall
      .omit({ transcript: true, toolCalls: true, durationMs: true })
      .nullable()
      .exactOptional()
      .describe('The live call without its words; null if the call has ended.'),
    live: events.live.exactOptional(),
    streamOpenedMs: events.streamOpenedMs.exactOptional(),
    durationMs: measuredMs.exactOptional().describe('Only in the first event.'),
    transcript: transcript.exactOptional(),
    toolCalls: toolCalls.exactOptional(),
    turns: events.turns.exactOptional(),
    bargeIns: events.bargeIns.exactOptional(),
    stages: events.stages.unwrap().exactOptional(),
    marks: events.timeline.exactOptional(),
    timelineDropped: events.timelineDropped.exactOptional(),
  })
  .describe('Changed parts of the call. Times are measured as in the timeline.') satisfies z.ZodType<CallEvent>

// --- data of a caller ---------------------------------------------------------------------------------------------

const message = messageViewSchema.extend({
  nextTryAt: z.iso.datetime().nullable().describe('Null if there will be no further try.'),
})

const erasedCounts = z.object({
  calls: count,
  records: count,
  handoffs: count,
  recordings: count,
  carrierRecordings: count,
  journals: count,
  messages: count.describe('Undelivered messages, including those that are not tried again.'),
  rows: count.describe('Rows of campaigns and call backs from which the data of the person was removed.'),
  objects: count.describe('Objects of the storage whose encryption keys were deleted, so that they cannot be read.'),
  objectsLeft: count.describe('Number of these objects that could not be deleted.'),
  keptStates: count.describe("States of calls in the fleet's store."),
}) satisfies z.ZodType<ErasedCounts & { readonly keptStates: number }>

const uncertain = count.describe('Calls that were left out because their record has a masked number.')

// --- campaigns ----------------------------------------------------------------------------------------------------

const campaign = campaignSchema.extend({
  stands: z
    .enum([...campaignSchema.shape.state.options, 'done'])
    .describe('State of the campaign. done: all its rows are finished.'),
  waiting: count,
  calling: count,
  results: z.partialRecord(z.enum(ROW_RESULTS), count).describe('Number of finished rows, by result.'),
}) satisfies z.ZodType<CampaignView>

const campaignMade = z.object({
  campaign: campaign.nullable().describe('Null if no campaign was made.'),
  added: count,
  faults: names.describe('Faults by line, without the words of the file.'),
  preview: z
    .array(
      z.object({
        number: z.string().describe('Number of the row, masked.'),
        externalId: z.string().nullable(),
        timeZone: z.string().nullable().describe("Time zone of the row; null if the row uses the campaign's."),
        says: z
          .string()
          .nullable()
          .describe('First words of the agent, with the values of the row; null if the model decides them.'),
      }),
    )
    .describe('The first ten rows that can be called.'),
}) satisfies z.ZodType<CampaignMade>

const fault = z.object({
  error: z.object({
    code: z.string().describe('Stable; docs/ERRORS.md lists the codes.'),
    message: z.string().describe('Names the fault and the allowed values.'),
  }),
})

// --- agents -------------------------------------------------------------------------------------------------------

const textFaults = z.array(z.object({ line: z.int(), col: z.int(), what: z.string() }))

const agentTool = z.object({
  name: z.string(),
  description: z.string(),
  parameters: z.looseObject({}).describe('JSON Schema.'),
  arguments: z
    .record(
      z.string(),
      z.object({
        description: z.string(),
        type: z.string().nullable().describe('JSON type; null if several types are allowed.'),
        enum: z.array(z.unknown()).nullable(),
        pattern: z.string().nullable(),
      }),
    )
    .describe('Arguments by name, for an input form.'),
  bound: names.describe('Arguments that the gateway sets.'),
  verifiedOnly: z.boolean(),
  changes: z.boolean().describe('True: the tool may change data.'),
  request: z.string().nullable().describe('Method and address; null if the tool sends no HTTP request.'),
  sample: z.looseObject({}).describe('Arguments for a first try.'),
})

const agents = z.object({
  watched: z.boolean().describe('True: edits of the folder are followed (`AGENTS_WATCH`).'),
  folderFault: z.string().nullable().describe('Reason why the folder cannot be read; null if it can be read.'),
  files: z.array(
    z.object({
      file: z.string().describe('Name in the folder.'),
      agent: z.string().nullable(),
      state: z
        .enum(['used', 'unused', 'faulty'])
        .describe(
          'unused: the file is valid, but new calls get another version of the agent, or do not get the agent.',
        ),
      faults: textFaults,
    }),
  ),
  agents: z.array(
    z.object({
      name: z.string(),
      version: z.string().describe('`agentVersion` in the records of its calls.'),
      canary: z
        .object({
          version: z.string(),
          percent: z.number(),
          stopped: z
            .string()
            .nullable()
            .describe(
              'Reason why the canary was stopped, because its calls were worse; null if it gets its share of the calls.',
            ),
        })
        .nullable()
        .describe('Second version, with its share of the calls; null if there is none.'),
      description: z.string(),
      languages: names,
      backends: names.describe('In the order in which they are tried.'),
      modelEnds: names.describe(
        'Sentences about models of the agent: each model that its vendor ends within 60 days, or has ended.',
      ),
      definition: z
        .looseObject({})
        .describe('The file with its defaults; numbers are masked, and … replaces parts that are left out.'),
      tools: z.array(agentTool),
      knowledgePassages: count,
      hasSampleIdentity: z.boolean().describe('True: a tool can be tried as the verified caller of `sample.identity`.'),
    }),
  ),
})

const trial = z.object({
  dry: z.boolean().describe('True: the request was built and not sent.'),
  ok: z.boolean().nullable().describe('Null if the request was not sent and no fault was found.'),
  request: z
    .object({ method: z.string(), host: z.string(), bodyChars: count })
    .nullable()
    .describe('Request that was sent or built; null if there is none.'),
  ms: z.int(),
  value: z.unknown().describe('Value that a model would get.'),
  code: z.string().nullable(),
  error: z.string().nullable(),
})

const hash = z.string().describe('Hash of the text.')
const checkedText = z.object({
  faults: textFaults,
  hash,
  agent: z.string().nullable().describe('Null if the text has faults.'),
  version: z.string().nullable().describe('Null if the text has faults.'),
})

const editedNode = z.object({
  name: z.string().nullable().describe('Null: the only node.'),
  answered: z.boolean(),
  why: z.string().nullable().describe('Reason why the node sent no list; null if it sent one.'),
  files: z
    .array(
      z.object({
        file: z.string(),
        hash: z.string().nullable().describe('Hash of the text; null if the file cannot be edited here.'),
        refusal: z.string().nullable().describe('Reason why the file cannot be edited here; null if it can.'),
      }),
    )
    .describe('Files of the agents folder.'),
  agents: z
    .array(
      z.object({
        name: z.string(),
        version: z.string().describe('`agentVersion` of its calls.'),
        canary: z.string().nullable().describe('`agentVersion` of the calls of its canary; null if it has no canary.'),
      }),
    )
    .describe('Versions for new calls.'),
})

/** All answers by their names, which are the names of the schemas in the document. */
export const OPS_ANSWERS = {
  Agents: agents,
  Backends: z.object({ backends: z.array(z.looseObject({})) }),
  Call: z.union([liveCall, callRecordSchema]),
  CallEvent: callEvent,
  CallRecord: callRecordSchema,
  CallTranscript: z.object({ callSid: z.string(), transcript }),
  CallsEvent: callsEvent,
  Campaign: campaign,
  CampaignFault: z.union([campaignMade, fault]),
  CampaignMade: campaignMade,
  Campaigns: z.object({ campaigns: z.array(campaign) }),
  Changed: z.object({ changed: z.boolean().describe('False: the list already had this state.') }),
  ChartPoint: chartPoint,
  ChartSeries: chartSeries,
  Charts: charts,
  CheckedText: checkedText,
  Commanded: z.object({
    callSid: z.string(),
    command: z.enum(['hangup', 'escalate', 'whisper']),
    accepted: z.literal(true),
  }),
  Cordoned: z.object({ cordoned: z.boolean(), live: count.describe('Live calls.'), node: z.string() }),
  DoNotCall: z.object({
    numbers: z.array(z.object({ number: z.string(), at: z.iso.datetime(), by: z.enum(['caller', 'operator']) })),
  }),
  Draining: z.object({ draining: z.literal(true), live: count.describe('Live calls.'), node: nodeName }),
  EditedList: z.object({ nodes: z.array(editedNode) }),
  Erasure: z.object({
    erased: erasedCounts,
    uncertain,
    complete: z.boolean().describe('True: every node answered, and every store was read.'),
    silent: silentNodes,
    storeDown: z.boolean().describe("True: the fleet's store did not answer."),
    unlooked: unlookedStores,
  }),
  Error: fault,
  Export: z.object({
    callSids: names,
    live: count.describe('Live calls of the number. `callSids` does not have them.'),
    uncertain,
    more: count.describe('Number of calls that are left out because one answer has a maximum length.'),
    rows: z.array(z.looseObject({})).describe('Rows of campaigns.'),
    doNotCall: z.boolean().describe('True: the number is on the do-not-call list.'),
    remembered: z
      .array(z.looseObject({}))
      .nullable()
      .describe("Memory of the caller's last calls, by line (`caller.memory`); null if the store did not answer."),
    messages: z.array(message).describe('Messages about these calls that are not delivered yet.'),
    complete: z.boolean().describe('True: every node answered and listed all its calls.'),
    silent: silentNodes,
    unlooked: unlookedStores,
  }),
  Fleet: fleetStatusSchema,
  FleetCalls: z.object({
    live: z.array(fleetRow),
    ended: z.array(fleetRow),
    nodes: z.array(z.object({ name: nodeName, answered: z.boolean() })),
  }),
  FleetRow: fleetRow,
  FoundCalls: z.object({
    calls: z.array(fleetRow),
    cursor: z.string().nullable().describe('Cursor of the next page; null if this is the last page.'),
    nodes: askedNodes,
    alike: z
      .boolean()
      .describe(
        'True: this page or an earlier page may have calls of other numbers, whose masked form equals the masked number of the query.',
      ),
  }) satisfies z.ZodType<FoundView>,
  Handoff: handoffSchema,
  ListedCall: listedCall,
  LiveCall: liveCall,
  Message: message,
  Messages: z.object({
    waiting: count,
    dead: count.describe('Number of messages that are not tried again.'),
    messages: z.array(message),
  }),
  OpenedText: z.object({
    file: z.string(),
    text: z.string().nullable().describe('Null if the text is not shown, for the reason in `refusal`.'),
    refusal: z.string().nullable(),
    agent: z.string().nullable().describe('Name of the agent in the text; null if no name can be read.'),
    hash,
    current: z.string().describe('Hash of the current text.'),
    versions: z.array(z.object({ hash: z.string(), atMs: z.int() })).describe('Stored texts of the file.'),
  }),
  PlacedCall: z.object({
    callSid: z
      .string()
      .nullable()
      .describe('Null if the answer of the carrier has no SID. Then the first webhook of the call brings the SID.'),
    clientRequestId: z.string().describe('Label of the call at the carrier.'),
    status: z.string().describe('State of the call at the carrier.'),
  }),
  ProcessCalls: z.object({
    live: z.array(liveCall),
    ended: z.array(listedCall),
    free: count,
    capacity: count,
    draining: z.boolean(),
  }),
  Publication: z.object({
    published: z.boolean(),
    faults: textFaults,
    hash,
    nodes: z.array(
      z.object({
        name: z.string().nullable().describe('Null: the only node.'),
        outcome: z
          .enum(['published', 'refused', 'unknown'])
          .describe('unknown: the node did not answer, and may have the text.'),
        inUse: z.boolean().describe('True: new calls use the text.'),
        why: z.string().nullable().describe('Reason of a refusal; null if the node did not refuse the text.'),
      }),
    ),
  }),
  Ready: z.object({
    ready: z.boolean(),
    reason: z.string().exactOptional().describe('Reason, as in the metric `not_ready`.'),
    free: count,
    capacity: count,
    fileFaults: count
      .exactOptional()
      .describe(
        'Number of errors in the files of agents and numbers, as in the metric `file_faults`; absent if there are none.',
      ),
  }),
  Refusals: z.object({
    dropped: count.describe('Number of older refusals that are not listed.'),
    refusals: z.array(
      z.object({
        at: z.iso.datetime(),
        reason: z.string(),
        why: z.string().describe('Figures of the decision.'),
        callSid: z.string().nullable(),
        agent: z.string().nullable(),
      }),
    ),
  }),
  Removed: z.object({ removed: z.literal(true) }),
  Retried: z.object({ key: z.string() }),
  Session: z.object({
    login: z.boolean().describe('True: the port requires a token.'),
    rights: z.enum(SESSION_RIGHTS).nullable().describe('Rights of this session; null if there is no session.'),
    version: z.string().exactOptional(),
    agents: names.exactOptional(),
    phone: z.boolean().exactOptional().describe('True: calls can be placed from the browser.'),
    edit: z.boolean().exactOptional().describe('True: agents can be edited (AGENTS_EDIT).'),
  }) satisfies z.ZodType<Session>,
  Settings: z.object({ settings: z.record(z.string(), z.unknown()) }),
  TextFaults: textFaults,
  Timeline: timelineSchema,
  Transcript: transcript,
  Trial: trial,
  TriableDraft: checkedText.extend({
    hash: z.string().describe('Hash of the text. The text is stored in AGENTS_DIR/.versions during the trial.'),
    id: z.string().nullable().describe('Null if the text has faults.'),
  }),
  Why: why,
  WhyLine: whyLine,
} as const satisfies Readonly<Record<string, z.ZodType>>

export type OpsAnswerName = keyof typeof OPS_ANSWERS
/** An answer by its name. */
export type OpsAnswerOf<Name extends OpsAnswerName> = DocumentOf<(typeof OPS_ANSWERS)[Name]>
