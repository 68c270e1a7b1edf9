import { z } from 'zod'
import { nodeRecordSchema } from '../../src/fleet/store/call-store.js'
import { callerMemorySchema } from '../../src/fleet/store/caller-memory.js'
import { fleetStatusSchema } from '../../src/fleet/fleet-status.js'
import { campaignSchema, rowSchema } from '../../src/campaigns/campaign.js'
import { doNotCallEntrySchema } from '../../src/campaigns/do-not-call.js'
import { seenSchema } from '../../src/campaigns/redis-queue.js'
import { parseResume, resumeSchema } from '../../src/call/documents/checkpoint.js'
import { timelineSchema } from '../../src/call/documents/call-view.js'
import { handoffSchema } from '../../src/call/documents/handoff.js'
import { learnedTurnsSchema } from '../../src/call/documents/learned-turns.js'
import { journalHeaderSchema } from '../../src/call/documents/journal.js'
import { readJournal } from '../../src/call/journal/journal-reader.js'
import { foldLog, keptCallSchema, logChunkSchema, parseKeptCall } from '../../src/call/documents/kept-call.js'
import { callAnalysisSchema, callRecordSchema } from '../../src/call/documents/record.js'
import { eraseAnswerSchema, eraseRequestSchema } from '../../src/edge/ops/ops-erase.js'
import { requestSchema as opsRequestSchema } from '../../src/edge/ops/ops-requests.js'
import { canariesSchema } from '../../src/gateway/canary-watch.js'
import { dailyBudgetsSchema } from '../../src/gateway/daily-budgets.js'
import { usageDifferencesSchema } from '../../src/gateway/usage-differences.js'
import { entrySchema as messageEntrySchema } from '../../src/messages/entry.js'
import { keyFileSchema } from '../../src/telemetry/archive/objects/object-keys.js'
import { agentTextRequestSchema } from '../../src/gateway/agents/agent-catch-up.js'
import {
  PEER_ANSWERS,
  forwardedSchema,
  provenWebhookSchema,
  streamsRequestSchema,
  takeOverRequestSchema,
  yieldRequestSchema,
} from '../../src/fleet/peer-requests.js'
import { keptDocumentSchema } from '../../src/telemetry/archive/archive-messages.js'
import { waitStatusSchema } from '../../src/workers/main/wait-status.js'
import { backendState, dialogueState, geminiState, sessionState } from './backend-states.js'

/** A form that outlives the process that writes it, or that a node sends to another. */
interface Form {
  /** Of the documents that are written. */
  readonly schema: z.ZodType
  /** Reads one as the gateway does. @throws where it is refused */
  readonly read: (document: unknown) => unknown
}

const checked = (schema: z.ZodType): Form => ({ schema, read: (document) => schema.parse(document) })

/**
 * All forms of documents that this build writes, by name. What `npm run samples` keeps of each release are their documents, and
 * this module as that release had it: so the samples of each are read forth and back.
 */
export const FORMS: Readonly<Record<string, Form>> = {
  'call-record': checked(callRecordSchema),
  timeline: checked(timelineSchema),
  handoff: checked(handoffSchema),
  // Its lines depend on each other: a whole journal is among the files.
  journal: { schema: journalHeaderSchema, read: (document) => [...readJournal([JSON.stringify(document)])] },
  'kept-call': { schema: keptCallSchema, read: parseKeptCall },
  'kept-call-log': { schema: logChunkSchema, read: (document) => foldLog([document]) },
  checkpoint: { schema: resumeSchema, read: parseResume },
  'backend-state': backendState,
  'session-state': sessionState,
  'gemini-state': geminiState,
  'dialogue-state': dialogueState,
  message: checked(messageEntrySchema),
  campaign: checked(campaignSchema),
  'campaign-row': checked(rowSchema),
  'campaigns-seen': checked(seenSchema),
  'do-not-call-entry': checked(doNotCallEntrySchema),
  'daily-budgets': checked(dailyBudgetsSchema),
  canaries: checked(canariesSchema),
  'usage-differences': checked(usageDifferencesSchema),
  analysis: checked(callAnalysisSchema),
  'object-key': checked(keyFileSchema),
  'learned-turns': checked(learnedTurnsSchema),
  'caller-memory': checked(callerMemorySchema),
  node: checked(nodeRecordSchema),
  'fleet-status': checked(fleetStatusSchema),
  'wait-outcome': checked(waitStatusSchema),
  'yield-request': checked(yieldRequestSchema),
  'streams-request': checked(streamsRequestSchema),
  'webhook-request': checked(forwardedSchema),
  'orphan-request': checked(provenWebhookSchema),
  'take-over-request': checked(takeOverRequestSchema),
  'line-request': checked(z.string()),
  'agent-text-request': checked(agentTextRequestSchema),
  'keep-document-request': checked(keptDocumentSchema),
  'ops-request': checked(opsRequestSchema),
  'erase-request': checked(eraseRequestSchema),
  ...Object.fromEntries(Object.entries(PEER_ANSWERS).map(([name, schema]) => [`${name}-answer`, checked(schema)])),
  'erase-answer': checked(eraseAnswerSchema),
}

export { readFolder, readRedis } from './stores.js'
