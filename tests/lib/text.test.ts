// Folding, words, terms, stems, languages, sentences and token counts.

import { describe, expect, test } from "bun:test";
import { countTokens as exactTokens } from "gpt-tokenizer/encoding/o200k_base";
import {
  countTerms,
  countTokens,
  decodeTerms,
  detectLanguage,
  encodeTerms,
  fold,
  foldPhrase,
  isStopWord,
  LANGUAGES,
  queryWords,
  splitSentences,
  stem,
  termsOf,
  words,
} from "../../src/lib/text/index.ts";

const PROSE = {
  en: "The employment contract may be terminated by either party with a notice period of three months to the end of a calendar quarter. During the first six months the notice period is two weeks. Employees who travel on business receive an allowance for meals, and their costs for hotels and trains are reimbursed when the receipts are handed in within thirty days. Whoever loses a laptop or a telephone must report the loss to the security team at once, so that the device can be locked.",
  pt: "O contrato de trabalho pode ser rescindido por qualquer das partes com aviso prévio de trinta dias. Durante o período de experiência o prazo é de sete dias. Os colaboradores que viajam a trabalho recebem uma ajuda de custo para refeições, e as despesas com hotéis e passagens são reembolsadas quando os comprovantes são entregues dentro de trinta dias. Quem perder um computador ou um telefone deve comunicar a perda imediatamente à equipe de segurança, para que o aparelho seja bloqueado.",
  de: "Der Arbeitsvertrag kann von beiden Seiten mit einer Frist von drei Monaten zum Ende eines Quartals gekündigt werden. In den ersten sechs Monaten beträgt die Frist zwei Wochen. Wer geschäftlich reist, erhält Tagegeld, und die Kosten für Hotel und Bahn werden erstattet, wenn die Belege innerhalb von dreißig Tagen eingereicht werden.",
  es: "El contrato de trabajo puede ser rescindido por cualquiera de las partes con un aviso de tres meses. Durante los primeros seis meses el plazo es de dos semanas. Los empleados que viajan por trabajo reciben una ayuda para comidas, y los gastos de hotel y tren se reembolsan cuando los recibos se entregan en treinta días.",
  fr: "Le contrat de travail peut être résilié par chacune des parties avec un préavis de trois mois. Pendant les six premiers mois, le préavis est de deux semaines. Les employés qui voyagent pour leur travail reçoivent une indemnité pour les repas, et leurs frais d'hôtel et de train sont remboursés sur présentation des reçus.",
  it: "Il contratto di lavoro può essere risolto da ciascuna delle parti con un preavviso di tre mesi. Durante i primi sei mesi il preavviso è di due settimane. I dipendenti che viaggiano per lavoro ricevono un'indennità per i pasti e le spese di albergo sono rimborsate.",
  nl: "De arbeidsovereenkomst kan door beide partijen worden opgezegd met een termijn van drie maanden. Tijdens de eerste zes maanden is de termijn twee weken. Wie voor het werk reist, krijgt een vergoeding voor maaltijden en de kosten van het hotel.",
  sv: "Anställningsavtalet kan sägas upp av båda parter med tre månaders varsel. Under de första sex månaderna är tiden två veckor. Den som reser i tjänsten får ersättning för måltider och kostnaderna för hotell och tåg betalas tillbaka.",
  da: "Ansættelseskontrakten kan opsiges af begge parter med tre måneders varsel. I de første seks måneder er fristen to uger. Den, der rejser på arbejde, får godtgørelse for måltider, og udgifterne til hotel og tog bliver betalt tilbage.",
  no: "Arbeidsavtalen kan sies opp av begge parter med tre måneders varsel. I de første seks månedene er fristen to uker. Den som reiser i jobben, får godtgjørelse for måltider, og utgiftene til hotell og tog blir betalt tilbake.",
  fi: "Työsopimus voidaan irtisanoa kolmen kuukauden irtisanomisajalla. Ensimmäisten kuuden kuukauden aikana aika on kaksi viikkoa. Työmatkalla oleva saa päivärahaa, ja hotellin sekä junan kulut korvataan, kun kuitit toimitetaan ajoissa.",
  ru: "Трудовой договор может быть расторгнут любой из сторон с уведомлением за три месяца. В течение первых шести месяцев срок составляет две недели. Сотрудники, которые ездят в командировки, получают суточные.",
  tr: "İş sözleşmesi taraflardan biri tarafından üç ay önceden bildirilerek feshedilebilir. İlk altı ay içinde bu süre iki haftadır. İş için seyahat eden çalışanlara yemek parası verilir ve otel masrafları geri ödenir.",
  hu: "A munkaszerződést bármelyik fél három hónapos határidővel felmondhatja. Az első hat hónapban a határidő két hét. Aki munkája miatt utazik, napidíjat kap, és a szálloda költségeit is megtérítik neki.",
  ro: "Contractul de muncă poate fi reziliat de oricare dintre părți cu un preaviz de trei luni. În primele șase luni preavizul este de două săptămâni. Angajații care călătoresc primesc o indemnizație pentru masă.",
} as const;

describe("folding", () => {
  test.each([
    ["Férias", "ferias"],
    ["STRASSE straße", "strasse strasse"],
    ["Ærø Łódź Œuvre", "aero lodz oeuvre"],
    ["ﬁne ＡＢＣ", "fine abc"],
    ["Ёлка", "елка"],
    ["İstanbul ısı", "istanbul isi"],
    ["हिन्दी", "हिन्दी"],
  ])("%s becomes %s", (text, folded) => expect(fold(text)).toBe(folded));

  test("composed and decomposed writing are equal", () => {
    expect(fold("é".normalize("NFD"))).toBe(fold("é".normalize("NFC")));
  });

  test("a phrase does not depend on line breaks", () =>
    expect(foldPhrase("  Annual\n\tReport ")).toBe("annual report"));
});

describe("words", () => {
  const spell = (text: string) => words(text).map(({ text: word, isWhole }) => (isWhole ? `[${word}]` : word));

  test.each([
    ["Order AB-1234/x now", ["order", "[ab-1234/x]", "ab", "1234", "x", "now"]],
    ["mail a.b@ex.org.", ["mail", "[a.b@ex.org]", "a", "b", "ex", "org"]],
    ["R$ 3.500,00", ["r", "[3.500,00]", "[3500]", "3", "500", "00"]],
    ["1,000 at 12:30", ["[1,000]", "[1000]", "1", "000", "at", "[12:30]", "12", "30"]],
    ["C++ and C#", ["[c++]", "c", "and", "[c#]", "c"]],
    ["abc123", ["[abc123]", "abc", "123"]],
    ["l'acqua Anna's don't", ["acqua", "anna", "don"]],
    ["the end.Next one", ["the", "end", "next", "one"]],
    ["東京都", ["東京", "京都"]],
    ["", []],
    ["?!… —", []],
  ])("%s", (text, expected) => expect(spell(text)).toEqual(expected));

  test("places are those of the text", () => {
    const text = "Über  AB-12: straße 🙂 ok";
    for (const { text: word, start, end } of words(text)) expect(text.slice(start, end).toLowerCase()).toBe(word);
  });
});

describe("terms", () => {
  test("a word stands for itself and its stem, whether its accents are written or not", () => {
    const written = termsOf({ text: "férias", isWhole: false }, "pt");
    const bare = termsOf({ text: "ferias", isWhole: false }, "pt");
    expect(written[0]).toBe("ferias");
    expect(bare.every((term) => written.includes(term))).toBe(true);
  });

  test.each([
    ["en", "policies", "policy"],
    ["pt", "contratos", "contrato"],
    ["de", "Häuser", "Haus"],
    ["es", "canciones", "canción"],
    ["fr", "chevaux", "cheval"],
  ] as const)("%s: %s and %s meet", (language, one, other) => {
    const of = (word: string) => termsOf({ text: word.toLowerCase(), isWhole: false }, language);
    expect(of(one).some((term) => of(other).includes(term))).toBe(true);
  });

  test("there is a stemmer for each language", () => {
    for (const language of LANGUAGES) expect(stem("internationalisation", language).length).toBeGreaterThan(5);
  });

  test("codes are not stemmed", () => expect(termsOf({ text: "ab-1234", isWhole: true }, "en")).toEqual(["ab-1234"]));

  test("the stored form gives back what was counted", () => {
    const { counts, length } = countTerms("The pump AB-12 pumps; the pump AB-12 is a pump.", "en");
    expect(length).toBe(12);
    expect(counts.get("pump")).toBe(4);
    expect(counts.get("ab-12")).toBe(2);
    const back = new Map<string, number>();
    decodeTerms(encodeTerms(counts), (term, count) => back.set(term, count));
    expect(Object.fromEntries(back)).toEqual(Object.fromEntries(counts));
    decodeTerms(encodeTerms(new Map()), () => expect.unreachable());
  });

  test("a question's words come once, with stems of its language and of the texts'", () => {
    const found = queryWords("Quais são as férias? Férias!", ["de"]);
    expect(found.filter(({ isStopWord: stop }) => !stop).map(({ text }) => text)).toEqual(["ferias"]);
    const plain = queryWords("vacations", ["en"], false);
    expect(plain).toEqual([{ text: "vacations", variants: ["vacations"], isStopWord: false }]);
  });

  test("stop words are folded and belong to a language", () => {
    expect([
      isStopWord("nao", "pt"),
      isStopWord("the", "en"),
      isStopWord("the", "de"),
      isStopWord("pumpe", "de"),
    ]).toEqual([true, true, false, false]);
  });
});

describe("languages", () => {
  test.each(Object.entries(PROSE))("%s is told from a text", (language, text) =>
    expect(detectLanguage(text)).toBe(language),
  );

  test.each([
    ["How many vacation days do I get?", "en"],
    ["Quantos dias de férias eu tenho?", "pt"],
    ["Wie viele Urlaubstage habe ich?", "de"],
    ["¿Cuántos días de vacaciones tengo?", "es"],
  ])("%s", (text, language) => expect(detectLanguage(text)).toBe(language));

  test("a guess is not a language", () => {
    expect([detectLanguage("férias"), detectLanguage("12345 67890 12345"), detectLanguage("")]).toEqual([
      null,
      null,
      null,
    ]);
  });

  test("a script of one language tells it", () =>
    expect(detectLanguage("これは日本語の文章です。よろしくお願いします。")).toBe("ja"));
});

describe("sentences", () => {
  const split = (text: string, language: string | null = null) =>
    splitSentences(text, language).map(({ start, end }) => text.slice(start, end));

  test.each([
    ["One. Two! Three?", ["One.", "Two!", "Three?"]],
    ["O Sr. Silva pagou R$ 3.500,00. Ele saiu.", ["O Sr. Silva pagou R$ 3.500,00.", "Ele saiu."]],
    ["See e.g. Dr. Who. J. R. Tolkien wrote it.", ["See e.g. Dr. Who.", "J. R. Tolkien wrote it."]],
    ["Pens, paper etc. The end.", ["Pens, paper etc.", "The end."]],
    ["A line that goes\non here. Next.", ["A line that goes\non here.", "Next."]],
    ["Title\n\nText begins.", ["Title", "Text begins."]],
    ["Bring:\n- a pen\n- paper", ["Bring:", "- a pen", "- paper"]],
    ["", []],
    ["  \n ", []],
  ])("%j", (text, expected) => expect(split(text)).toEqual(expected));

  test("nothing but blanks is lost", () => {
    const text = `${PROSE.en}\n\n${PROSE.pt}`;
    expect(split(text).join("").replace(/\s/g, "")).toBe(text.replace(/\s/g, ""));
  });
});

describe("token counts", () => {
  test.each(["en", "pt", "de", "es", "fr", "nl"] as const)(
    "are within a tenth of a real tokeniser's on %s prose",
    (language) => {
      const text = PROSE[language];
      const exact = exactTokens(text);
      expect(Math.abs(countTokens(text) - exact) / exact).toBeLessThanOrEqual(0.1);
    },
  );

  test("an empty text has none, any other at least one", () => {
    expect([countTokens(""), countTokens("a"), countTokens(" ")]).toEqual([0, 1, 1]);
  });
});

test("a megabyte is taken apart well under a second", () => {
  const text = PROSE.en.repeat(Math.ceil(1_000_000 / PROSE.en.length));
  countTerms(PROSE.en, "en");
  const before = process.cpuUsage();
  countTerms(text, "en");
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1e6).toBeLessThan(1);
});
