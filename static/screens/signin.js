// Sign-in and registration.

import * as api from '../api.js';
import { h, fill, field, toast } from '../dom.js';

/** @param {(user: object) => void} done */
export function signInScreen(done) {
  const box = h('section.card.narrow');
  showSignIn(box, done);
  return box;
}

function form(title, fields, label, testid, run, other) {
  const error = h('p.error', { role: 'alert', testid: 'form-error' });
  const button = h('button.primary', { type: 'submit', testid }, label);
  const onsubmit = async (event) => {
    event.preventDefault();
    error.textContent = '';
    button.disabled = true;
    try {
      await run();
    } catch (problem) {
      error.textContent = problem.message;
    } finally {
      button.disabled = false;
    }
  };
  return h('form', { onsubmit }, h('h1', {}, title), fields, error, button, other);
}

function showSignIn(box, done) {
  const email = h('input', { type: 'email', autocomplete: 'username', required: true, testid: 'signin-email' });
  const password = h('input', { type: 'password', autocomplete: 'current-password', required: true, testid: 'signin-password' });
  const other = h('p.other', {}, 'New here? ', h('button.link', { type: 'button', testid: 'to-register', onclick: () => showRegister(box, done) }, 'Make an account'));
  fill(box, form('Sign in', [field('E-mail', email), field('Password', password)], 'Sign in', 'signin-submit',
    async () => done(await api.signIn(email.value, password.value)), other));
}

function showRegister(box, done) {
  const name = h('input', { autocomplete: 'name', required: true, testid: 'register-name' });
  const email = h('input', { type: 'email', autocomplete: 'username', required: true, testid: 'register-email' });
  const password = h('input', { type: 'password', autocomplete: 'new-password', required: true, minLength: 8, testid: 'register-password' });
  const role = h('select', { testid: 'register-role' }, ...['patient', 'doctor', 'pharmacist'].map((value) => h('option', { value }, value[0].toUpperCase() + value.slice(1))));
  const other = h('p.other', {}, 'You have an account? ', h('button.link', { type: 'button', onclick: () => showSignIn(box, done) }, 'Sign in'));
  const fields = [
    field('Name', name), field('E-mail', email),
    field('Password', password, 'At least 8 characters; longer is better.'),
    field('I am a', role, 'Doctors and pharmacists are approved by the clinic first.'),
  ];
  fill(box, form('Make an account', fields, 'Register', 'register-submit', async () => {
    const user = await api.register({ name: name.value, email: email.value, password: password.value, role: role.value });
    if (user.status === 'active') return done(await api.signIn(email.value, password.value));
    toast('Thank you. You can sign in when the clinic has approved your account.');
    showSignIn(box, done);
  }, other));
}
