/**
 * Text frames on the media socket. One frame may hold several JSON values in a row, or text that is no JSON at
 * all; see docs/PROTOCOL.md.
 */
export type StreamText =
  /** The first frame, in any of its shapes. Ids as found; `openMetadata` is the rest of it. */
  | {
      readonly type: 'metadata'; readonly callSid: string | null; readonly streamSid: string | null
      readonly from: string | null; readonly to: string | null
      readonly headers: Readonly<Record<string, string>>; readonly openMetadata: string | null
    }
  /** Answer to a mark, or a mark that was cleared. */
  | { readonly type: 'mark'; readonly name: string; readonly event: 'playout' | 'cleared' }
  | { readonly type: 'dtmf'; readonly digit: string }
  /** JSON of a type we do not know; counted and ignored. */
  | { readonly type: 'unknown'; readonly name: string }
  /** Neither JSON nor a metadata text; counted and ignored. */
  | { readonly type: 'garbage' }
