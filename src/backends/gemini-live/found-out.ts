import { forgetOldest } from '../../core/forget-oldest.js'

/** Services of which a worker knows what it found out. */
const GEMINI_HOSTS_MAX = 32
/** Models of which a worker knows how they take texts. */
const GEMINI_MODELS_MAX = 64

// What this worker's sessions found out by being refused. Bounded; per worker, so each finds out once.

/**
 * Which services take `sessionResumption.transparent`, by the host of their address: a host that refuses the setup with
 * it, and takes it without, is not sent it again. Needed because Google's own client (@google/genai 3.1) lets only Vertex
 * AI have it, the Developer API of May 2026 refused it (google/adk-python#5771), and the types of Gemini 3.8 have it.
 */
const transparent = new Map<string, boolean>()
/** How models that are not known by their name take texts, by host and model. */
const texts = new Map<string, 'content' | 'realtime'>()

/** @returns null when nothing is known */
export function takesTransparent(url: string): boolean | null {
  return transparent.get(hostOf(url)) ?? null
}

export function transparentFound(url: string, takes: boolean): void {
  transparent.set(hostOf(url), takes)
  forgetOldest(transparent, GEMINI_HOSTS_MAX)
}

/** @returns null when nothing is known */
export function takesTexts(url: string, model: string): 'content' | 'realtime' | null {
  return texts.get(`${hostOf(url)} ${model}`) ?? null
}

export function textsFound(url: string, model: string, as: 'content' | 'realtime'): void {
  texts.set(`${hostOf(url)} ${model}`, as)
  forgetOldest(texts, GEMINI_MODELS_MAX)
}

function hostOf(url: string): string {
  return new URL(url).host
}
