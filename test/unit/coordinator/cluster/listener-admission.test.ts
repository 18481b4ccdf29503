// The rate at which addresses may connect.
import { describe, expect, it } from 'vitest';
import {
  ConnectionRates,
  networkOf,
  SECURE_COST,
} from '../../../../coordinator/cluster/listener-admission.ts';

/** Connections that an address may make at that time. */
function countAllowed(rates: ConnectionRates, address: string, nowMs: number, cost = 1): number {
  let count = 0;
  while (rates.allows(address, cost, nowMs)) count++;
  return count;
}

describe('the rate of connections', () => {
  it('an address may connect 512 times at once and 100 times in each second after that', () => {
    const rates = new ConnectionRates();
    expect(countAllowed(rates, '192.0.2.1', 0)).toBe(512);
    expect(countAllowed(rates, '192.0.2.1', 1000)).toBe(100);
    expect(countAllowed(rates, '192.0.2.1', 1010)).toBe(1);
    expect(countAllowed(rates, '192.0.2.1', 3_600_000)).toBe(512);
  });

  it('a connection with a handshake of TLS counts for four', () => {
    const rates = new ConnectionRates();
    expect(countAllowed(rates, '192.0.2.1', 0, SECURE_COST)).toBe(128);
    expect(countAllowed(rates, '192.0.2.1', 1000, SECURE_COST)).toBe(25);
  });

  it('a connection that ends by a fault of the worker counts for 50', () => {
    const rates = new ConnectionRates();
    rates.noteFault('192.0.2.1', 0);
    expect(countAllowed(rates, '192.0.2.1', 0)).toBe(462);
    rates.noteFault('192.0.2.1', 0);
    expect(countAllowed(rates, '192.0.2.1', 1000)).toBe(50);
    for (let fault = 0; fault < 1000; fault++) rates.noteFault('192.0.2.1', 1000);
    expect(countAllowed(rates, '192.0.2.1', 7000)).toBe(88);
  });

  it('an address that connects too often leaves others what is theirs', () => {
    const rates = new ConnectionRates();
    countAllowed(rates, '192.0.2.1', 0);
    expect(countAllowed(rates, '192.0.2.2', 0)).toBe(512);
  });

  it('the addresses of one IPv6 network count as one', () => {
    const rates = new ConnectionRates();
    countAllowed(rates, '2001:db8:1:2::1', 0);
    expect(rates.allows('2001:db8:1:2:ffff::9', 1, 0)).toBe(false);
    expect(rates.allows('2001:db8:1:3::1', 1, 0)).toBe(true);
  });

  it('the rates of 4,096 addresses are remembered, and those of the quietest are forgotten', () => {
    const rates = new ConnectionRates();
    countAllowed(rates, '192.0.2.1', 0);
    for (let other = 0; other < 4095; other++) rates.allows(`10.0.${other >> 8}.${other & 255}`, 1, 0);
    expect(rates.allows('192.0.2.1', 1, 0)).toBe(false);
    for (let other = 0; other < 4096; other++) rates.allows(`10.1.${other >> 8}.${other & 255}`, 1, 0);
    expect(rates.allows('192.0.2.1', 1, 0)).toBe(true);
  });
});

describe('the network of an address', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::1', '0:0:0:0::/64'],
    ['2001:db8::5', '2001:db8:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['unknown', 'unknown'],
  ])('the network of %s is %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});
