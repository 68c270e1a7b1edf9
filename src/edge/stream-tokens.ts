import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { AUDIO_TOKEN_TTL_S, CONTINUATION_TOKEN_TTL_S, USED_TOKENS_MAX } from '../core/limits.js'
import type { CallSid } from '../core/ids.js'
import type { WallClock } from '../core/clock.js'
import { checkToken, mintToken } from '../sautikit/token.js'
import type { TokenPurpose, TokenResult } from '../sautikit/token.js'

/** The tokens in our URLs: makes them, checks them, and remembers which audio tokens have opened a socket. */
export class StreamTokens {
  readonly #secret: string
  readonly #wallClock: WallClock
  /** Nonces of audio tokens that opened a socket. */
  readonly #used = new LRUCache<string, true>({ max: USED_TOKENS_MAX })

  constructor(options: { readonly tokenSecret: string; readonly wallClock: WallClock }) {
    this.#secret = options.tokenSecret
    this.#wallClock = options.wallClock
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
}
