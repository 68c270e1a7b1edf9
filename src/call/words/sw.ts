import { numbered, words } from './language.js'
import type { Language } from './language.js'

/** Swahili. A `*` stands for any letters. */
export const sw: Language = {
  claims: {
    not: words('si sio siyo hapana wala bila bado hakuna hamna siwezi sikuweza hatuwezi hatukuweza'),
    if: words('ikiwa iwapo endapo pindi kabla wakati'),
    asks: words('je kama ungependa unataka nini gani lini wapi nani'),
    joins: words('lakini kwa_hiyo kwa_sababu kisha'),
    breaks: words('ili kwamba ambayo ambaye uta* nita* ata* nge*'),
  },
  numbers: {
    ...numbered('sifuri moja mbili tatu nne tano sita saba nane tisa', 0),
    ...numbered('kumi ishirini thelathini arobaini hamsini sitini sabini themanini tisini', 10, 10),
    ...{ mia: 100, elfu: 1000, laki: 100_000, milioni: 1e6 },
  },
  leading: ['mia', 'elfu', 'laki', 'milioni'],
  and: 'na',
  repeats: {},
  months: numbered('januari februari machi aprili mei juni julai agosti septemba oktoba novemba desemba', 1),
  weekdays: 'jumapili jumatatu jumanne jumatano alhamisi ijumaa jumamosi'.split(' '),
  through: ['hadi', 'mpaka'],
  daily: ['kilasiku'],
  days: { leo: 0, kesho: 1, jana: -1 },
  money: ['shilingi'],
  percent: ['asilimia'],
  parts: ['nukta', 'nusu', 'robo', 'senti'],
  about: ['kama', 'karibu', 'takriban', 'takribani', 'zaidi', 'chini'],
  articles: ['ya'],
  is: ['ni'],
  lists: ['na', 'au', 'ama'],
}
