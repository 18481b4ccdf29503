// The token of a tab. A page in a browser can give a WebSocket no headers but subprotocols, so the token is
// one of them: in hexadecimal digits, since a subprotocol may not hold every character that a token may.

const PREFIX = 'lockstep.token.';

/** The subprotocol that shows a token. */
export function tokenSubprotocol(token: string): string {
  return PREFIX + Buffer.from(token).toString('hex');
}

/** The `Authorization` that stands for what is shown among the subprotocols of a request, if any is. */
export function authorizationIn(subprotocols: string): string | undefined {
  const shown = subprotocols
    .split(',')
    .map((subprotocol) => subprotocol.trim())
    .find((subprotocol) => subprotocol.startsWith(PREFIX));
  return shown && `Bearer ${Buffer.from(shown.slice(PREFIX.length), 'hex').toString()}`;
}
