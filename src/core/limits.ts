/**
 * Bounds that several files share, by layer. Every other bound is next to its queue, map, wait or retry (`node
 * scripts/bounds.mjs` lists all bounds). A bound that an operator may want to change is also a setting (src/config),
 * and the value in this file is its default. Code that drops data at a bound counts the dropped data.
 */

// --- carrier protocol (sautikit) ---------------------------------------------------------------------------
/** Maximum size of a webhook body. The carrier's bodies are under 2 KiB; docs/PROTOCOL.md 1. */
export const WEBHOOK_BODY_BYTES_MAX = 16 * 1024
/**
 * Maximum size of a text frame whose JSON is read, in bytes. In the open-source client of this protocol the first frame
 * has at most 8,192 bytes. docs/PROTOCOL.md 5.
 */
export const TEXT_FRAME_BYTES_MAX = 8192
/** Maximum depth of JSON from outside that is processed. */
export const JSON_DEPTH_MAX = 8

// --- audio socket -----------------------------------------------------------------------------------------
/**
 * Maximum size of a frame from the carrier: 4 s at 16 kHz mono. For a larger frame, uWebSockets.js closes the socket.
 * docs/PROTOCOL.md.
 */
export const CARRIER_FRAME_BYTES_MAX = 128 * 1024
/**
 * Maximum duration of the audio that a working carrier sends at once after a stall, in milliseconds. Its buffer holds 2
 * s. docs/PROTOCOL.md.
 */
export const CARRIER_BURST_MS = 2000
/**
 * Time from the last document with a stream until a call whose socket has not opened ends. Carriers give up a stream
 * after 5 to 20 s.
 */
export const SOCKET_WAIT_MS = 30_000
/**
 * Time for which new audio waits after killAudio, in milliseconds, because the carrier would drop this audio.
 * docs/PROTOCOL.md.
 */
export const AFTER_KILL_SILENCE_MS = 60

// --- playout ----------------------------------------------------------------------------------------------
/**
 * Playout lead at 16 kHz in milliseconds: maximum duration of audio that the carrier has received but not played.
 * docs/ARCHITECTURE.md.
 */
export const PLAYOUT_LEAD_MS_16K = 100
/**
 * Duration of zeros that are sent after an utterance, in milliseconds. The carrier holds back the last samples until
 * more audio comes. docs/PROTOCOL.md.
 */
export const PLAYOUT_TAIL_MS = 200
/** Length of every fade. It is long enough to prevent a click, and too short to be heard. */
export const FADE_MS = 5

// --- call session -----------------------------------------------------------------------------------------
/** Maximum number of entries in a transcript; the oldest are dropped. */
export const TRANSCRIPT_ENTRIES_MAX = 400
/** Maximum number of tool calls in the record of one call. */
export const TOOL_CALLS_MAX = 200
/** Maximum length of a message that a caller leaves for a call back. */
export const MESSAGE_CHARS_MAX = 1000
/** Maximum number of speech items, of the backend and the gateway, that a session or a playout ledger remembers. */
export const SPEECH_ITEMS_MAX = 128
/** Maximum number of caller frames in one journal line. */
export const JOURNAL_FRAMES_PER_LINE_MAX = 250
/** Maximum number of numbers in a hunt group. */
export const ESCALATION_NUMBERS_MAX = 10

// --- media workers ------------------------------------------------------------------------------------------
/** Period of the ticks of each media worker and of the main thread's playout, in milliseconds. docs/adr/0006. */
export const TICK_MS = 5
/** Maximum number of calls on one media worker. */
export const CALLS_PER_WORKER_MAX = 2000
/**
 * Number of times that a call may continue after its node was lost. Without this limit, a call that crashes its nodes
 * could crash every node of the fleet.
 */
export const RESUMES_MAX = 3
/**
 * Minimum length of a continued call's stream in milliseconds: after this time, the caller has probably heard the
 * agent. A shorter stream counts as lost with its node, whatever ended it.
 */
export const HEARD_STREAM_MS_MIN = 3000
/** Maximum number of parts of one call. Each part has its own stream and recording. */
export const CALL_PARTS_MAX = 16
/** Interval at which the main thread checks the workers' heartbeats. */
export const WORKER_WATCH_MS = 250
/** Maximum number of ended calls whose records the process can still show. */
export const ENDED_CALLS_KEPT = 1000

// --- agents -----------------------------------------------------------------------------------------------
/** Maximum size of an agent file. A page of instructions is 4 KiB. */
export const AGENT_FILE_BYTES_MAX = 256 * 1024
/** Maximum length of all arguments of one tool call as JSON, and maximum length of each text in the arguments. */
export const TOOL_TEXT_CHARS_MAX = 8192
/** Default deadline of a tool, in milliseconds. Callers accept a wait of 5 s with one filler. */
export const TOOL_TIMEOUT_MS = 5000
/** Maximum length of a tool's result for a model, in characters. */
export const TOOL_RESULT_CHARS_MAX = 16 * 1024
/** Maximum wait of a tool whose result arrives later. */
export const WAIT_MS_MAX = 600_000
/**
 * Time after the end of a tool's wait in which its outcome is still accepted, in milliseconds. For example, the
 * confirmation of a payment may come late.
 */
export const WAIT_GRACE_MS = 120_000
/** Maximum number of tool calls in one call that wait for their outcome simultaneously. */
export const WAITS_OPEN_MAX = 4
/** Maximum number of passages in one agent's knowledge. */
export const KNOWLEDGE_PASSAGES_MAX = 2000
/** Maximum length of a search in the knowledge, in characters. */
export const KNOWLEDGE_QUERY_CHARS_MAX = 300
/**
 * Time in milliseconds after which sound without recognised words counts as the end of a turn, so that the backend
 * answers. So a caller who is not understood hears the agent within 8 s.
 */
export const ANSWER_UNHEARD_MS = 5500
/** Maximum duration of speech without a pause, in milliseconds, if the caller's words are recognised. */
export const UNDERSTOOD_SPEECH_MS_MAX = 90_000
/** Maximum number of claims that are audited in one call. */
export const CLAIMS_MAX = 100

// --- backends ---------------------------------------------------------------------------------------------
/**
 * Maximum size of a message from a model's service: 60 s of 24 kHz audio as base64. Larger messages are dropped and
 * counted.
 */
export const BACKEND_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
/**
 * Limits for one connection to a model's, recogniser's or voice's service. Three loads stay below them:
 * - audio of 24 kHz as base64 at 60 times real time
 * - one message of 32 MiB, which is dropped because of its size
 * - one message per word from the fastest models
 *
 * If a service sends more, its connection fails. Otherwise the worker would only read this connection, and the worker's
 * other calls would be silent.
 */
export const BACKEND_RATES = {
  bytesPerS: 4 * 1024 * 1024,
  bytesAtOnce: 40 * 1024 * 1024,
  messagesPerS: 2000,
  messagesAtOnce: 5000,
}
/** Maximum size of one answer over HTTP: ten minutes of sound. */
export const BACKEND_ANSWER_BYTES_MAX = 32 * 1024 * 1024
/**
 * Maximum duration of the caller's audio that waits while a backend is not ready or does not accept audio, in
 * milliseconds. The oldest audio is dropped.
 */
export const BACKEND_WAITING_AUDIO_MS = 10_000
/** Maximum number of texts that wait while a backend is not ready. */
export const BACKEND_WAITING_TEXTS_MAX = 16
/**
 * Minimum duration in milliseconds of the caller's audio before the detected speech that a backend without its own
 * voice detection gets.
 */
export const BACKEND_PRE_ROLL_MS = 400
/**
 * Maximum duration in milliseconds of the caller's audio before the detected speech. It is longer for speech over the
 * agent, which is reported up to a second late: only when it interrupts and is not a backchannel
 * (`bargeIn.backchannel.maxMs`).
 */
export const BACKEND_PRE_ROLL_MS_MAX = 1200
/** Maximum time from the first byte until the session accepts audio, in milliseconds. */
export const BACKEND_CONNECT_MS = 8000
/** Time after which a close is forced if the peer does not answer the close, in milliseconds. */
export const BACKEND_CLOSE_MS = 700
/**
 * Duration in milliseconds without messages after which a backend's socket is pinged. If no message comes for this
 * duration again, the socket counts as dead.
 */
export const BACKEND_PING_MS = 10_000
/**
 * Number of responses, items and tool calls of one session that a backend remembers. With these a backend recognises
 * late messages.
 */
export const BACKEND_RESPONSES_KEPT = 32
export const BACKEND_ITEMS_KEPT = 64
export const BACKEND_TOOL_CALLS_KEPT = 256
/** Maximum length of a tool's arguments, and of its result, as text. */
export const BACKEND_TOOL_TEXT_CHARS_MAX = 64 * 1024
/** Maximum length of one transcript while it grows, in characters. */
export const BACKEND_TRANSCRIPT_CHARS_MAX = 8192
/** Maximum number of bytes of a service's error text that are read. */
export const BACKEND_FAULT_BYTES_MAX = 8192

// --- failover ---------------------------------------------------------------------------------------------
/**
 * Margin of input replay, in milliseconds. Speech over the agent's voice is reported up to 1.2 s after its first
 * sample, and the 400 ms before this sample are replayed too.
 */
export const INPUT_REPLAY_MARGIN_MS = 1700
/** Maximum number of circuit breakers in one worker; each backend has one circuit breaker, by name. */
export const CIRCUITS_MAX = 64

// --- embedded speech --------------------------------------------------------------------------------------
/**
 * Maximum length of an utterance in samples: 90 s at 8 kHz, the longest speech of a caller. Later audio is dropped and
 * counted.
 */
export const SPEECH_UTTERANCE_SAMPLES_MAX = 8 * UNDERSTOOD_SPEECH_MS_MAX
/**
 * Maximum number of one call's utterances that are processed at the same time: one is decoded while the next has begun.
 */
export const SPEECH_UTTERANCES_PER_CALL_MAX = 3
/** Maximum number of texts of one call that are spoken simultaneously. */
export const SPEECH_SAYINGS_MAX = 16
/** Maximum length of a JSGF grammar, in characters. */
export const SPEECH_GRAMMAR_CHARS_MAX = 64 * 1024

// --- embedded dialogue ------------------------------------------------------------------------------------
/** Maximum number of DTMF digits that are stored while a caller enters a number. */
export const DIALOGUE_KEYS_MAX = 20

// --- connections ------------------------------------------------------------------------------------------
/**
 * Time for which Node tries one address of a service before it gives up this address; Node's default is 250 ms. A round
 * trip by satellite takes 700 ms, and lost packets are sent again after 1 s. If a service has an IPv6 address that does
 * not work, each new connection to the service is delayed by this time.
 */
export const CONNECT_ATTEMPT_MS = 1500

// --- edge -------------------------------------------------------------------------------------------------
/** Maximum number of calls for which the edge remembers its answers. */
export const ANSWERED_CALLS_MAX = 20_000
/** Interval of the checks of all audio sockets and waiting bodies. */
export const EDGE_SWEEP_MS = 250
/** Time of silence after which uWebSockets.js closes a socket, in seconds. */
export const SOCKET_IDLE_S = 32
/**
 * Maximum number of live calls in a list over all nodes, and maximum number of ended calls. Each node sends up to this
 * number.
 */
export const OPS_LIST_MAX = 500
/** Maximum time that a node waits for another node's part of an answer to an operator, in milliseconds. */
export const OPS_PEER_MS = 1000
/**
 * Maximum time that a node or the command waits while another node reads its whole archive to erase calls, in
 * milliseconds.
 */
export const ERASE_PEER_MS = 120_000
/** Maximum number of calls with one phone number that a node lists; their SIDs fit into one answer between nodes. */
export const EXPORT_CALLS_MAX = 10_000

// --- several processes on one port ------------------------------------------------------------------------
/** Time limit for a started process to accept calls, in milliseconds. */
export const PROCESS_START_MS_MAX = 120_000

// --- media ------------------------------------------------------------------------------------------------
/**
 * Number of a call's waiting frames in the memory that the frame detector reads. Further frames wait in other memory.
 */
export const JITTER_SLOTS = 8

// --- sautikit-api -----------------------------------------------------------------------------------------
/** Maximum number of pages of one list that are fetched. */
export const CARRIER_API_PAGES_MAX = 100

// --- simulator --------------------------------------------------------------------------------------------
/** Maximum number of calls in one simulator. For more calls, run further processes. */
export const SIMULATED_CALLS_MAX = 200
/** Maximum number of simulated calls that run simultaneously. */
export const SCENARIO_JOBS_MAX = 64

// --- the fleet's store and its nodes --------------------------------------------------------------------------

/** Deadline of an operation of the call store, in milliseconds. A webhook waits for at most three operations. */
export const STORE_DEADLINE_MS = 250
/** Pause after a timeout of an operation, in milliseconds, in which no requests are sent to the store. */
export const STORE_REST_MS = 1000
/**
 * Deadline of store operations that do not delay a new caller, in milliseconds: heartbeats, stored states of calls, and
 * the recovery of a call. For a recovery a longer wait is better than a failure. The deadline is shorter than a
 * balancer's wait for a gateway, and a fifth of the carrier's wait.
 */
export const STORE_PATIENCE_MS = 2000
/**
 * Maximum delay of an answer that confirms a stored state, in milliseconds. If the answer does not come in this time,
 * the sender must send again.
 */
export const SAVED_WITHIN_MS = 3000
/** Time after which a claim is free again if its owner does not renew the claim, in milliseconds. */
export const CLAIM_TTL_MS = 3000
/** Lifetime of a live call's entry; every write renews it. */
export const CALL_TTL_MS = 2 * 3_600_000
/**
 * Lifetime of an ended call's entry. Late webhooks need the entry, and so do nodes whose files show the call still
 * live.
 */
export const OVER_TTL_MS = CALL_TTL_MS
/** Interval at which an unchanged call is written again, so that its entry does not expire. */
export const KEEP_RENEW_MS = CALL_TTL_MS / 4
/** Maximum number of streams that one call opens. Each stream uses a token once. */
export const STORED_STREAMS_MAX = 64
/**
 * Maximum number of counters that form one sum in a store. A node without a data folder adds a counter each time it
 * starts.
 */
export const TALLY_PARTS_MAX = 1000
/** Time from a node's last heartbeat until the node is deleted from the store, in milliseconds on the store's clock. */
export const NODE_FORGET_MS = 10 * 60_000
export const HEARTBEAT_MS = 2000
/** Time from a node's last heartbeat until the node is suspect, in milliseconds on the observer's monotonic clock. */
export const SUSPECT_MS = 6000
/** Maximum number of one node's calls that are confirmed simultaneously. */
export const CONFIRMS_AT_ONCE_MAX = 64
/**
 * Maximum difference between a node's clock and the store's clock, in milliseconds. With a larger difference the node
 * is not ready.
 */
export const CLOCK_SKEW_MS_MAX = 30_000
/** Maximum number of nodes in a fleet. */
export const NODES_MAX = 256
/** Time in which another node must answer a forwarded webhook, in milliseconds. */
export const PEER_ANSWER_MS = 500
/**
 * Time in which the nodes must find an owner for a new call, in milliseconds. After this time the caller hears the
 * fallback.
 */
export const FALLBACK_AFTER_MS = 1000
/**
 * Time limit in milliseconds for the answer to a carrier's question. If the call's node may be lost, the carrier is
 * then asked to repeat the question. A balancer waits 2 s for a node.
 */
export const ASK_ANSWER_MS = 1750
/**
 * Maximum time that a caller waits because the store does not answer, in milliseconds from the first attempt. A replica
 * needs 3 to 10 s to replace its master.
 */
export const CALLER_HELD_MS = 20_000
/**
 * Default of INTERNAL_PORT. This port is higher than the default ports of GATEWAY_PROCESSES_MAX processes and the spare
 * port.
 */
export const INTERNAL_PORT_DEFAULT = 9600
/** Maximum size of a request's body between nodes, and of the answer's body. */
export const PEER_BODY_BYTES_MAX = 1024 * 1024
/** Maximum number of offers of a stream to the carrier for one call. During the offers the caller hears silence. */
export const STREAM_OFFERS_MAX = 8
/**
 * Maximum total time of the offers of a stream, in milliseconds. At least two offers are made, even if they take
 * longer.
 */
export const STREAM_OFFERING_MS = 15_000

/**
 * Time in milliseconds from the first node's discovery of an emptied store until every node has noticed it and written
 * its calls again.
 */
export const STORE_REWRITTEN_MS = 3 * HEARTBEAT_MS
