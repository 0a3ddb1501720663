// What a bot says where nobody has written a text for it: English, Portuguese and Spanish. Pure.

/** Languages with built-in texts; every other one falls back to English. */
export type TextLanguage = "en" | "pt" | "es";

export interface BuiltInTexts {
  /** Greeting of a bot that knows something. */
  greeting(title: string): string;
  /** Greeting of a bot without any knowledge and without a model. */
  emptyGreeting(title: string): string;
  error: string;
  timeout: string;
  noAnswer: string;
  /** In front of the titles that come nearest. */
  noAnswerNearest: string;
  /** The visible line above a quoted answer that stands in for the model's. */
  modelUnreachable: string;
  /** A quoted answer without a model: the line above the quotation. */
  quotedIntro: string;
  page: string;
  slide: string;
  sheet: string;
  row: string;
  line: string;
  /** A question about a heading of a document. */
  questionAbout(topic: string): string;
}

const TEXTS: Record<TextLanguage, BuiltInTexts> = {
  en: {
    greeting: (title) => `Hello! I am ${title}. Ask me something, and I will look it up in what I know.`,
    emptyGreeting: (title) => `Hello! I am ${title}. Nobody has given me documents to read yet, so I know little.`,
    error: "Something went wrong on my side. Please try again in a moment.",
    timeout: "This took too long, so I stopped. Please try again.",
    noAnswer: "I found nothing about that in what I know.",
    noAnswerNearest: "These documents come nearest:",
    modelUnreachable: "The language model cannot be reached at the moment. This is quoted from the knowledge base:",
    quotedIntro: "This is what I found:",
    page: "page",
    slide: "slide",
    sheet: "sheet",
    row: "row",
    line: "line",
    questionAbout: (topic) => `What do you know about “${topic}”?`,
  },
  pt: {
    greeting: (title) => `Olá! Eu sou ${title}. Pergunte, e eu procuro no que sei.`,
    emptyGreeting: (title) => `Olá! Eu sou ${title}. Ainda não recebi documentos para ler, por isso sei pouco.`,
    error: "Algo deu errado do meu lado. Tente de novo em instantes.",
    timeout: "Isso demorou demais, então parei. Tente de novo.",
    noAnswer: "Não encontrei nada sobre isso no que sei.",
    noAnswerNearest: "Estes documentos chegam mais perto:",
    modelUnreachable: "O modelo de linguagem não está acessível no momento. Isto foi citado da base de conhecimento:",
    quotedIntro: "Foi isto que encontrei:",
    page: "página",
    slide: "slide",
    sheet: "planilha",
    row: "linha",
    line: "linha",
    questionAbout: (topic) => `O que você sabe sobre “${topic}”?`,
  },
  es: {
    greeting: (title) => `¡Hola! Soy ${title}. Pregunta, y lo busco en lo que sé.`,
    emptyGreeting: (title) => `¡Hola! Soy ${title}. Todavía no me han dado documentos para leer, así que sé poco.`,
    error: "Algo ha fallado por mi parte. Inténtalo de nuevo en un momento.",
    timeout: "Esto tardaba demasiado y lo he detenido. Inténtalo de nuevo.",
    noAnswer: "No he encontrado nada sobre eso en lo que sé.",
    noAnswerNearest: "Estos documentos son los más cercanos:",
    modelUnreachable:
      "El modelo de lenguaje no está disponible en este momento. Esto está citado de la base de conocimiento:",
    quotedIntro: "Esto es lo que he encontrado:",
    page: "página",
    slide: "diapositiva",
    sheet: "hoja",
    row: "fila",
    line: "línea",
    questionAbout: (topic) => `¿Qué sabes sobre «${topic}»?`,
  },
};

/** The built-in texts for a language tag; its region does not matter, and an unknown language gives English. */
export function textsFor(language: string | null): BuiltInTexts {
  const primary = (language ?? "en").toLowerCase().split("-")[0] ?? "en";
  return TEXTS[primary as TextLanguage] ?? TEXTS.en;
}
