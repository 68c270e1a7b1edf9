import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import {
  AUDIO_TOKEN_TTL_S,
  CALL_PAPERS_MAX,
  CONTINUATION_TOKEN_TTL_S,
  EVENT_IDS_MAX,
  USED_TOKENS_MAX,
} from '../core/limits.js'
import type { CallSid } from '../core/ids.js'
import type { WallClock } from '../core/clock.js'
import { checkToken, mintToken } from '../sautikit/token.js'
import type { TokenPurpose, TokenResult } from '../sautikit/token.js'

/** What the edge remembers of a call beyond the call itself: a webhook may come when the call is long over. */
export interface CallPaper {
  readonly agent: string
  /** When its first webhook was answered, on the monotonic clock. */
  readonly answeredAtMs: number
  /** The carrier has been given a Dial (or a conference): a busy leg that follows is the human's, not the caller's. */
  dialServed: boolean
  /** A post that is no event was given the document: whoever asks read the answer. */
  served: boolean
}

export interface CallPapersOptions {
  readonly tokenSecret: string
  readonly wallClock: WallClock
}

/** Tokens that are given out, those that are used up, and what was answered to whom. All of it bounded. */
export class CallPapers {
  readonly #secret: string
  readonly #wallClock: WallClock
  readonly #papers = new LRUCache<string, CallPaper>({ max: CALL_PAPERS_MAX })
  /** Nonces of audio tokens that opened a socket. */
  readonly #used = new LRUCache<string, true>({ max: USED_TOKENS_MAX })
  readonly #events = new LRUCache<string, true>({ max: EVENT_IDS_MAX })

  constructor(options: CallPapersOptions) {
    this.#secret = options.tokenSecret
    this.#wallClock = options.wallClock
  }

  write(callSid: CallSid, paper: { readonly agent: string; readonly answeredAtMs: number }): void {
    this.#papers.set(callSid, { ...paper, dialServed: false, served: false })
  }

  find(callSid: string): CallPaper | undefined {
    return this.#papers.get(callSid)
  }

  /** A token for one URL of a call; good for a minute (audio) or for longer than any call. */
  mint(callSid: CallSid, purpose: TokenPurpose): string {
    const ttlS = purpose === 'audio' ? AUDIO_TOKEN_TTL_S : CONTINUATION_TOKEN_TTL_S
    return mintToken(this.#secret, {
      callSid,
      purpose,
      expiresAtS: Math.floor(this.#wallClock() / 1000) + ttlS,
      nonce: randomBytes(12).toString('base64url'),
    })
  }

  check(token: string | undefined, purpose: TokenPurpose): TokenResult {
    return checkToken(this.#secret, token, { purpose, nowS: Math.floor(this.#wallClock() / 1000) })
  }

  isUsed(nonce: string): boolean {
    return this.#used.has(nonce)
  }

  use(nonce: string): void {
    this.#used.set(nonce, true)
  }

  /** True the first time that a key is seen (within memory). */
  isNewEvent(dedupeKey: string): boolean {
    if (this.#events.has(dedupeKey)) return false
    this.#events.set(dedupeKey, true)
    return true
  }
}
