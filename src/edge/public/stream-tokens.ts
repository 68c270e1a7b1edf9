import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { atMost } from '../../core/at-most.js'
import { assert } from '../../core/assert.js'
import type { CallSid } from '../../core/ids.js'
import type { WallClock } from '../../core/clock.js'
import { checkToken, mintToken } from '../../sautikit/token.js'
import type { TokenPurpose, TokenResult } from '../../sautikit/token.js'

/** How long the token in an audio URL may be used. docs/PROTOCOL.md. */
const AUDIO_TOKEN_TTL_S = 60
/** How long the tokens of a call's URLs but the audio socket's are good. */
const CONTINUATION_TOKEN_TTL_S = 6 * 3600
/** Audio tokens that are remembered as used; each is good for a minute, so this is enough for 800 calls a second. */
const USED_TOKENS_MAX = 50_000

/** The tokens in our URLs: makes them, checks them, and remembers which audio tokens have opened a socket. */
export class StreamTokens {
  readonly #secrets: readonly string[]
  readonly #wallClock: WallClock
  /** Nonces of audio tokens that opened a socket. */
  readonly #used = new LRUCache<string, true>(atMost(USED_TOKENS_MAX))

  /** @param options.tokenSecrets  the first one signs, each may have signed */
  constructor(options: { readonly tokenSecrets: readonly string[]; readonly wallClock: WallClock }) {
    this.#secrets = options.tokenSecrets
    this.#wallClock = options.wallClock
  }

  /**
   * A token for one URL of a call; good for a minute (audio) or for longer than any call.
   * @param epoch  of the call's owner, for audio: the socket must open where this epoch owns the call
   */
  mint(callSid: CallSid, purpose: Exclude<TokenPurpose, 'continue'>, epoch = 0): string {
    assert(purpose === 'audio' || epoch === 0, 'only audio tokens have an epoch')
    const ttlS = purpose === 'audio' ? AUDIO_TOKEN_TTL_S : CONTINUATION_TOKEN_TTL_S
    return mintToken(this.#secrets, {
      callSid,
      purpose,
      epoch,
      expiresAtS: Math.floor(this.#wallClock() / 1000) + ttlS,
      nonce: randomBytes(12).toString('base64url'),
    })
  }

  /** A token at whose URL the outcome of one tool call may be posted. @param id  of its wait */
  mintContinue(callSid: CallSid, id: string, ttlS: number): string {
    const expiresAtS = Math.floor(this.#wallClock() / 1000) + ttlS
    return mintToken(this.#secrets, { callSid, purpose: 'continue', epoch: 0, expiresAtS, nonce: id })
  }

  check(token: string | undefined, purpose: TokenPurpose): TokenResult {
    return checkToken(this.#secrets, token, { purpose, nowS: Math.floor(this.#wallClock() / 1000) })
  }

  isUsed(nonce: string): boolean {
    return this.#used.has(nonce)
  }

  use(nonce: string): void {
    this.#used.set(nonce, true)
  }
}
