import { words } from './language.js'
import type { ClaimLanguage } from './language.js'

/** Swahili. A `*` stands for any letters. */
export const sw: ClaimLanguage = {
  not: words('si sio siyo hapana wala bila bado hakuna hamna siwezi sikuweza hatuwezi hatukuweza'),
  if: words('ikiwa iwapo endapo pindi kabla wakati'),
  asks: words('je kama ungependa unataka nini gani lini wapi nani'),
  joins: words('lakini kwa_hiyo kwa_sababu kisha'),
  breaks: words('ili kwamba ambayo ambaye uta* nita* ata* nge*'),
}
