/**
 * The 500 commonest words of each language, the commonest first. A pronunciation must not replace one of them, because
 * every sentence would sound wrong. Counted in the stories of the African Storybook project (africanstorybook.org, CC
 * BY; text as of github.com/global-asp/asp-source): 368 English stories with 105,970 words, and 126 Swahili stories
 * with 32,138 words. A word counts only if at least four stories contain it, so that names in a story are not included.
 */
const LISTS: Readonly<Record<string, string>> = {
  en: `
  the and to a he was i she of in her his they you by it is that for with my said but on when at one not had so were
  all him this stories me are day very from up we as what will there have back mother their time out went home then be
  go them can people would could do asked did village into no who big man little water your away animals after other
  come tree house like came saw called hare old ran down how children see told am where eat again father school long
  about has many food heard too friends looked fire lion if because our started king now some two get got us look baby
  put girl took woman night help an know lived don't dog why bird going elephant river every boy new sun happy made
  morning never play rabbit way find just next wanted before beautiful friend gave found off run thought together want
  around good more began hyena anansi only over once well first left make story while family monkey take must here
  place walked small men until much decided cow parents sang things young also tortoise sleep soon wife cat each head
  door teacher child forest give or says crocodile let mr birds cried everyone still fruit under another any sky three
  always even great ready snake work cows daughter please these flew mom teeth didn't oh song voice fish hair i'm
  something fell girls legs pot red ate ball bed it's money singing upon became hard shouted tired without bus grew
  meat son which hungry grandmother loved tell villagers bring grass knew live love far ground eyes fast i'll looking
  think trees catch garden hot inside read sister turned been boys brother felt full goat mulongo than through bag
  dancing reached sent stop chickens dad met sad sat stick walk high lot name world fly frog himself life most rain
  replied shoes blue dance hear jumped near right tail tried behind coming later leave strong yes arrived best dark
  land mouth opened playing sticks stopped woke enjoy hut others rooster sing across agreed alone animal cats finally
  laughed moon nothing seen should yellow ago can't chicken dry everything hand likes running uncle afraid answered
  couldn't different evening green hide market outside rat angry aunt branch cold does drink happened its jackal open
  owl own used whole wind colour face last letter rats say smile special those able bananas cry enough goes played
  white buy clever eating end farm held late milk princess side visit anything brought clothes days gone hands keep
  leaves quickly sick years ask basket body caught donkey few flowers given hill pulled rock skin delicious eagle
  early field lost today walking wings apple black cook eats giant herself husband kept light longer party shop sorry
  suddenly town worked bad both bush carried city climbed crocodiles followed journey listen maize need passed rich
  same soccer stay tall book branches bright chief doing feathers goats onto`,
  sw: `
  na ya kwa wa ni lakini alikuwa yake sana wake siku kwenye moja mama alisema katika la sungura juu kila anansi
  nyumbani cha yangu kuwa kwenda wakati tena hivyo za kisha kutoka kwamba wote chini zaidi mtoto nyumba mmoja maji
  mimi ndani watu nini watoto yule kama jua mti msichana walikuwa chakula ilikuwa ili karibu wanyama ng'ombe pamoja
  hadi naye sauti wengine ndege mwenye basi yao zake kubwa mamba hapo kuku muda mwanamke baada hiyo mara simba vile
  hata huku kima mvulana baba sasa usiku yeye miguu huo kijiji mdogo mkubwa rangi tu mahali mfalme ndovu bila mto mtu
  sababu wangu mamake pia rafiki wao wazazi kitu matunda mbali mwingine wapi akasema kazi meno tafadhali wewe aliuliza
  chake familia kobe kwanza moto pale hadithi ile kunguru kuona mno mrefu mke hapa hii kijijini kula nje nyoka je
  ndogo panya kidogo lake fisi mbwa upepo asubuhi baadaye furaha haraka macho wawili yote zamani zao alijibu hakuna
  kelele kucheza kusema njaa yako babake huyo jina jinsi miti mlango shule wanaume akiwa chungu hao kale mkia nani
  nguvu nyingi si wale alipokuwa kabla leo nguo nyama samaki anasema baridi halafu maisha palikuwa tayari alisikia
  huyu kulala marafiki mtoni nyasi nyuma alimwambia bustani huu jioni kwani lazima mbuzi mzee nao nyingine upande wala
  alianza aliona aliyekuwa bado hivi kufanya kuna kuruka mamangu mfupi mkewe mwa ndiyo tajiri tofauti wimbo angani
  bwana kibuyu kulikuwa mengi msitu msituni ulikuwa vya yeyote hilo kuni kwake mjomba mrembo njiani punda sokoni
  wanakijiji wengi akaanza chochote hicho iliyofuata joto kijani kuliko miaka mpya nzuri ule wenye gani huko kuanza
  lilikuwa mvua nilikuwa njia zote alienda alipiga asali changu hebu kuishi kukimbia kulia mbele mfuko ndugu yetu
  alipanda alitaka ana ikiwa jambo kabisa kuangalia majani makubwa maziwa mwezi nyanya pua shamba viatu wetu zawadi
  alilia aliwaza chifu kuimba kurudi kweli manyoya mboga pekee punde sehemu vizuri wasichana wazo alijua buibui giza
  hakuweza hili kibichi kichwa kofia kuhusu kupata kutembea kutumia kwao labda maua mlima mwake ndiye saa saba safari
  shimo shuleni vipepeo vitamu walienda wavulana zangu ajili aliishi alikimbia alipenda ambayo au bi bluu hiki ila
  mbaya mgongo mjini mpira mwanamme nami ndivyo nenda peke sawa tatu umri wako wanawake ah baadhi barabara hawa haya
  kamwe katikati kesho kuondoka kusoma mikono mpaka nafaka nzima paa shangazi shati sura uji upinde usingizi vitu
  wakiwa walipokuwa yuko zuri akisema aliamua alifikiria alifurahi aliruka alisimama babangu dada hakuwa hali huzuni
  jirani kati kile kinywa kupanda kwangu mbawa mbona mgeni mgongoni mnyama mwenyewe ndefu nguruwe njoo nyekundu pa
  paliishi pesa sijui sisi tawi viazi wenyewe yenye zetu alihuzunika alimsikia alipata aliwaambia ambaye ghafla
  hapakuwa hatari hatimaye kawaida kucheka kuingia kule kuongea kupiga lile mambo mapema mbili mguu milimani ninaweza
  shangaziye sita uchungu vibaya vichwa vyao waliona yalikuwa aliendelea alifanya alihisi alikubali alikumbuka
  alipofika alirudi ambapo chumba hasira hayo kamba kasi kiasi kimya kipekee kitamu kujua kunywa kutafuta kutokana
  langu makali matawi mbio mifugo milima miwili mpendwa mtini mwanamume mwisho mzuri ndoto ngozi paka pembe pembeni
  salama sio tamaa tangu walifanya waliishi walikutana walisema aende`,
}

/** @returns the language whose commonest words include this word; null if there is none */
export function commonIn(word: string): string | null {
  const small = word.toLowerCase()
  return Object.entries(LISTS).find(([, words]) => words.split(/\s+/).includes(small))?.[0] ?? null
}
