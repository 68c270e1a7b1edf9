/**
 * The bounds that several files share, by layer; any other stands beside its queue, map, wait or retry
 * (`node scripts/bounds.mjs` lists all). A bound that an operator may want to change is also a setting (src/config); the
 * value here is then its default. What is dropped at a bound is counted by the part that drops it.
 */

// --- carrier protocol (sautikit) ---------------------------------------------------------------------------
/** Largest webhook body we read. The carrier's are under 2 KiB; docs/PROTOCOL.md 1. */
export const WEBHOOK_BODY_BYTES_MAX = 16 * 1024
/** Largest text frame whose JSON we read; the lineage's first frame is at most 8,192 bytes. docs/PROTOCOL.md 5. */
export const TEXT_FRAME_BYTES_MAX = 8192
/** Deepest JSON from outside that we walk. */
export const JSON_DEPTH_MAX = 8

// --- audio socket -----------------------------------------------------------------------------------------
/** Largest frame from the carrier: 4 s at 16 kHz mono; uWS closes on more. docs/PROTOCOL.md. */
export const CARRIER_FRAME_BYTES_MAX = 128 * 1024
/** Longest burst that a healthy carrier sends after a stall: its own buffer holds 2 s. docs/PROTOCOL.md. */
export const CARRIER_BURST_MS = 2000
/**
 * A prepared call that no socket claims ends after this, counted from the last document with a stream. Carriers give a stream
 * up after 5 to 20 s, and ask only then.
 */
export const SOCKET_WAIT_MS = 30_000
/** After killAudio new audio waits this long, or the carrier throws it away too. docs/PROTOCOL.md. */
export const AFTER_KILL_SILENCE_MS = 60

// --- playout ----------------------------------------------------------------------------------------------
/** The playout lead at 16 kHz: audio that the carrier may hold and has not played yet. docs/ARCHITECTURE.md. */
export const PLAYOUT_LEAD_MS_16K = 100
/** Zeros after an utterance, so that the carrier's hold-back lets its tail out. docs/PROTOCOL.md. */
export const PLAYOUT_TAIL_MS = 200
/** Length of every fade: long enough to make no click, short enough not to be heard. */
export const FADE_MS = 5

// --- call session -----------------------------------------------------------------------------------------
/** Entries of a transcript that are kept; beyond it the oldest go. */
export const TRANSCRIPT_ENTRIES_MAX = 400
/** Tool calls of one call that are kept in its record. */
export const TOOL_CALLS_MAX = 200
/** Longest message of a caller to the person who calls back; a caller may talk for long. */
export const MESSAGE_CHARS_MAX = 1000
/** Speech items (backend's and gateway's) that a session or a playout ledger remembers. */
export const SPEECH_ITEMS_MAX = 128
/** Caller frames in one journal line. */
export const JOURNAL_FRAMES_PER_LINE_MAX = 250
/** Numbers of a hunt group. */
export const ESCALATION_NUMBERS_MAX = 10

// --- media workers ------------------------------------------------------------------------------------------
/** Period of the tick of each media worker, and of the main thread's playout. docs/adr/0006. */
export const TICK_MS = 5
/** Calls that one media worker carries at most. */
export const CALLS_PER_WORKER_MAX = 2000
/** How often a call may go on after its node was lost: one that ends its nodes must not go through the fleet. */
export const RESUMES_MAX = 3
/** A shorter stream counts as lost with its node, whatever ended it: its caller has not heard the agent again. */
export const HEARD_STREAM_MS_MIN = 3000
/** Parts of a call in all, each with a stream and a recording of its own. */
export const CALL_PARTS_MAX = 16
/** Interval at which the main thread checks the workers' heartbeats. */
export const WORKER_WATCH_MS = 250
/** Records of ended calls that the process can still show. */
export const ENDED_CALLS_KEPT = 1000

// --- agents -----------------------------------------------------------------------------------------------
/** Largest agent file that is read. A page of instructions is 4 KiB. */
export const AGENT_FILE_BYTES_MAX = 256 * 1024
/** All arguments of one tool call as JSON, and any text in them. */
export const TOOL_TEXT_CHARS_MAX = 8192
/** Deadline of a tool unless the agent says otherwise: a caller bears 5 s with one filler. */
export const TOOL_TIMEOUT_MS = 5000
/** How much of a tool's answer a model is given. */
export const TOOL_RESULT_CHARS_MAX = 16 * 1024
/** Longest wait of a tool whose answer comes later. */
export const WAIT_MS_MAX = 600_000
/** How long after that an outcome is still taken: money may have moved although no confirmation came. */
export const WAIT_GRACE_MS = 120_000
/** Tool calls of one call that wait for their outcome at once. */
export const WAITS_OPEN_MAX = 4
/** Passages in one agent's knowledge. */
export const KNOWLEDGE_PASSAGES_MAX = 2000
/** Characters of a search in the knowledge. */
export const KNOWLEDGE_QUERY_CHARS_MAX = 300
/**
 * A caller who is not understood hears us within 8 s. After this time, sound without words counts as ended, so that the
 * backend answers.
 */
export const ANSWER_UNHEARD_MS = 5500
/** How long somebody who is understood may speak without a pause. */
export const UNDERSTOOD_SPEECH_MS_MAX = 90_000
/** Claims of one call that are judged. */
export const CLAIMS_MAX = 100

// --- backends ---------------------------------------------------------------------------------------------
/**
 * Largest message of a model's service that is read: 60 s of 24 kHz audio as base64. A larger one is dropped and
 * counted.
 */
export const BACKEND_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
/**
 * Limits of a model's, recogniser's or voice's service for one connection. Audio of 24 kHz as base64 at 60 times real time, the longest
 * message that is dropped (32 MiB) at once, and each word of an answer as a message of its own from the fastest models, stay below. A
 * service that sends more fails alone: the worker would read nothing else, and its other calls would be silent.
 */
export const BACKEND_RATES = {
  bytesPerS: 4 * 1024 * 1024,
  bytesAtOnce: 40 * 1024 * 1024,
  messagesPerS: 2000,
  messagesAtOnce: 5000,
}
/** One answer over HTTP: ten minutes of sound. */
export const BACKEND_ANSWER_BYTES_MAX = 32 * 1024 * 1024
/** Caller audio that waits for a backend that is not ready or not taking any; the oldest goes. */
export const BACKEND_WAITING_AUDIO_MS = 10_000
/** Texts that wait for a backend that is not ready. */
export const BACKEND_WAITING_TEXTS_MAX = 16
/** Caller audio before detected speech that goes to a backend without voice detection of its own, at least. */
export const BACKEND_PRE_ROLL_MS = 400
/**
 * The same at most. Speech over the agent is reported only when it interrupts, up to a second after it began: "mm-hm"
 * has less voice than that (`bargeIn.backchannel.maxMs`), with its pauses.
 */
export const BACKEND_PRE_ROLL_MS_MAX = 1200
/** From the first byte to a session that takes audio. */
export const BACKEND_CONNECT_MS = 8000
/** A close that the other side does not answer is cut after this. */
export const BACKEND_CLOSE_MS = 700
/** A backend socket that was silent this long is pinged, and is dead when it is silent once more. */
export const BACKEND_PING_MS = 10_000
/** Responses, items and tool calls of one session that a backend remembers, to recognise late messages. */
export const BACKEND_RESPONSES_KEPT = 32
export const BACKEND_ITEMS_KEPT = 64
export const BACKEND_TOOL_CALLS_KEPT = 256
/** A tool's arguments and its answer, as text. */
export const BACKEND_TOOL_TEXT_CHARS_MAX = 64 * 1024
/** Characters of one transcript that are kept while it grows. */
export const BACKEND_TRANSCRIPT_CHARS_MAX = 8192
/** A service's error text: bytes that are read. */
export const BACKEND_FAULT_BYTES_MAX = 8192

// --- failover ---------------------------------------------------------------------------------------------
/**
 * Speech is reported up to 1.2 s after its first sample (over the agent's voice), and includes the 400 ms before that
 * sample.
 */
export const INPUT_REPLAY_MARGIN_MS = 1700
/** Circuits of one worker, one for each backend by name. */
export const CIRCUITS_MAX = 64

// --- embedded speech --------------------------------------------------------------------------------------
/** Longest utterance, 90 s of samples at 8 kHz, as long as a caller may speak; what follows is dropped and counted. */
export const SPEECH_UTTERANCE_SAMPLES_MAX = 8 * UNDERSTOOD_SPEECH_MS_MAX
/** Utterances of one call that may be under way: the one that is decoded and the one that has begun. */
export const SPEECH_UTTERANCES_PER_CALL_MAX = 3
/** Texts of one call that may be spoken at once. */
export const SPEECH_SAYINGS_MAX = 16
/** Longest JSGF grammar. */
export const SPEECH_GRAMMAR_CHARS_MAX = 64 * 1024

// --- embedded dialogue ------------------------------------------------------------------------------------
/** DTMF digits that are kept while a caller enters a number. */
export const DIALOGUE_KEYS_MAX = 20

// --- connections ------------------------------------------------------------------------------------------
/**
 * How long Node tries one address of a service before the next, which it gives up for good; by itself 250 ms. A round trip by satellite takes 700 ms, and
 * what was lost on the way is sent again after 1 s. A service whose IPv6 is dead costs each new connection this time.
 */
export const CONNECT_ATTEMPT_MS = 1500

// --- edge -------------------------------------------------------------------------------------------------
/** Calls of which the edge remembers what it answered. */
export const ANSWERED_CALLS_MAX = 20_000
/** How often all audio sockets and waiting bodies are looked at. */
export const EDGE_SWEEP_MS = 250
/** uWebSockets.js gives a socket up that is silent for this long. */
export const SOCKET_IDLE_S = 32
/** Live calls, and ended ones, that a list over all nodes has; each node sends as many. */
export const OPS_LIST_MAX = 500
/** How long a node waits for another's answer to an operator. */
export const OPS_PEER_MS = 1000
/** How long a node waits for another that reads its whole archive to erase calls, and the command that asks for it. */
export const ERASE_PEER_MS = 120_000
/** Calls of a number that one node names; their SIDs fit into one answer between nodes. */
export const EXPORT_CALLS_MAX = 10_000

// --- several processes on one port ------------------------------------------------------------------------
/** A process has this long to begin taking calls. */
export const PROCESS_START_MS_MAX = 120_000

// --- media ------------------------------------------------------------------------------------------------
/**
 * Frames of a call that wait in the memory of the frame detector, which reads them there. More wait in memory of their
 * own.
 */
export const JITTER_SLOTS = 8

// --- sautikit-api -----------------------------------------------------------------------------------------
/** Pages of one list that are fetched. */
export const CARRIER_API_PAGES_MAX = 100

// --- simulator --------------------------------------------------------------------------------------------
/** Most calls that one simulator runs. Use another process for more. */
export const SIMULATED_CALLS_MAX = 200
/** Simulated calls of one run at once. */
export const SCENARIO_JOBS_MAX = 64

// --- the fleet's store and its nodes --------------------------------------------------------------------------

/** Every operation of the call store, in milliseconds. A webhook waits for at most three of them. */
export const STORE_DEADLINE_MS = 250
/** After an operation that timed out, the store is not asked for this long. */
export const STORE_REST_MS = 1000
/**
 * The same of operations that no new caller waits for: heartbeats, what is kept of calls, and the recovery of a call,
 * whose caller has nobody else. Shorter than a balancer waits for a gateway, and a fifth of what the carrier waits.
 */
export const STORE_PATIENCE_MS = 2000
/** How long an answer that promises a kept state waits for it; then the sender has to send again. */
export const SAVED_WITHIN_MS = 3000
/** A claim that its owner does not confirm within this time is free again. */
export const CLAIM_TTL_MS = 3000
/** Entry of a live call; every write renews it. */
export const CALL_TTL_MS = 2 * 3_600_000
/** Entry of a call that is over, for webhooks that come late, and for a node whose files are of before its end. */
export const OVER_TTL_MS = CALL_TTL_MS
/** A call that has not changed is written again after this, so that its entry does not end. */
export const KEEP_RENEW_MS = CALL_TTL_MS / 4
/** Streams of one call that attach in its life; each is a single use of a token. */
export const STORED_STREAMS_MAX = 64
/** Who may count one sum of a store: each run of a node without a folder of its own is another one. */
export const TALLY_PARTS_MAX = 1000
/** A node whose heartbeat stands still for this long, in the store's time, is deleted from it. */
export const NODE_FORGET_MS = 10 * 60_000
export const HEARTBEAT_MS = 2000
/** A node whose heartbeat has stood still for this long, on the observer's monotonic clock, is suspect. */
export const SUSPECT_MS = 6000
/** Calls of one node that are being confirmed at once. */
export const CONFIRMS_AT_ONCE_MAX = 64
/** A node whose clock is further from the store's is not ready. */
export const CLOCK_SKEW_MS_MAX = 30_000
/** Nodes of one fleet. */
export const NODES_MAX = 256
/** Another node's answer to a forwarded webhook. */
export const PEER_ANSWER_MS = 500
/** How long the nodes may take to find an owner for a new call; then its caller hears the fallback. */
export const FALLBACK_AFTER_MS = 1000
/**
 * The same for a carrier that asks how a call goes on whose node may be lost; then it has to ask again. A balancer gives a
 * node 2 s.
 */
export const ASK_ANSWER_MS = 1750
/**
 * How long a caller is asked to wait because the store does not say how the call goes on, from the first time on. A replica
 * that takes the place of its master takes 3 to 10 s.
 */
export const CALLER_HELD_MS = 20_000
/**
 * The internal port unless INTERNAL_PORT says another. With the default ports it is none of those that
 * GATEWAY_PROCESSES_MAX processes and the spare place count up to.
 */
export const INTERNAL_PORT_DEFAULT = 9600
/** Body of a request between nodes, and of its answer. */
export const PEER_BODY_BYTES_MAX = 1024 * 1024
/** How often a call is offered a stream, and for how long, but at least twice: its caller hears nothing meanwhile. */
export const STREAM_OFFERS_MAX = 8
export const STREAM_OFFERING_MS = 15_000

/** After an emptied store was noticed: by then every node has noticed it too and has written its calls again. */
export const STORE_REWRITTEN_MS = 3 * HEARTBEAT_MS
