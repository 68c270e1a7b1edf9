import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'

/** Services of which a worker knows what it found out. */
const GEMINI_HOSTS_MAX = 32
/** Models of which a worker knows how they take texts. */
const GEMINI_MODELS_MAX = 64

// Facts that this worker's sessions learnt from refusals. Bounded; per worker, so each finds out once.

/**
 * Which services take `sessionResumption.transparent`, by the host of their address: a host that refuses the setup with
 * it, and takes it without, is not sent it again. Needed because Google's own client (@google/genai 3.1) lets only Vertex
 * AI have it, the Developer API of May 2026 refused it (google/adk-python#5771), and the types of Gemini 3.8 have it.
 */
export const takesTransparent = new LRUCache<string, boolean>(atMost(GEMINI_HOSTS_MAX))
/** How models that are not known by their name take texts, by host and model. */
export const takesTexts = new LRUCache<string, 'content' | 'realtime'>(atMost(GEMINI_MODELS_MAX))
