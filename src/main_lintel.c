/* Entry point of the lintel executable. */
int main(void)
{
    return 0;
}
