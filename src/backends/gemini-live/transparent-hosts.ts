import { forgetOldest } from '../../core/forget-oldest.js'

/** Services of which a worker knows whether they take transparent resumption. */
const GEMINI_HOSTS_MAX = 32

/**
 * Which services take `sessionResumption.transparent`, by the host of their address, as this worker's sessions found
 * out: a host that refuses the setup with it, and takes it without, is not sent it again. Needed because Google's own
 * client (@google/genai 3.1) lets only Vertex AI have it, the Developer API of May 2026 refused it
 * (google/adk-python#5771), and the types of Gemini 3.8 have it. Bounded; per worker, so each finds out once.
 */
const taken = new Map<string, boolean>()

/** @returns null when nothing is known */
export function takesTransparent(url: string): boolean | null {
  return taken.get(hostOf(url)) ?? null
}

export function transparentFound(url: string, takes: boolean): void {
  taken.set(hostOf(url), takes)
  forgetOldest(taken, GEMINI_HOSTS_MAX)
}

function hostOf(url: string): string {
  return new URL(url).host
}
