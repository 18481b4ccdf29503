// Reads server-sent events, as a page does.

/** An event of a stream. */
export interface StreamedEvent {
  readonly type: string;
  readonly data: unknown;
}

/** The events of a stream, one after the other, until it ends. */
export async function* readEvents(url: string, init: RequestInit = {}): AsyncGenerator<StreamedEvent, void> {
  const response = await fetch(url, init);
  if (!response.body) throw new Error(`no stream: ${response.status}`);
  let text = '';
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
      const frame = text.slice(0, end);
      text = text.slice(end + 2);
      const [, type, data] = /^event: (.*)\ndata: (.*)$/.exec(frame) ?? [];
      if (type !== undefined && data !== undefined) yield { type, data: JSON.parse(data) as unknown };
    }
  }
}
